"""The benchmark behind ``uvbind bench``: servers, a load generator, measuring and reporting."""
