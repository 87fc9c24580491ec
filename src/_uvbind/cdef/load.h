/* The load generator of `uvbind bench` (load.c): C on libuv with a loop of its own, no Python.
   The functions return 0 or a libuv error code. Not for use by two threads at once. */

typedef struct uvb_load uvb_load;

/* What one run saw. A latency is the time from sending a message to the last byte of its echo,
   or of its last answer. */
typedef struct {
    uint64_t sent;       /* messages */
    uint64_t messages;   /* echoes or answers that came back whole */
    uint64_t lost;       /* answers that did not come back in time: datagrams may get lost */
    uint64_t bytes;      /* bytes that came back */
    uint64_t mismatches; /* reads that held a wrong byte, or one too many */
    uint64_t errors;     /* what failed; the run returns the first's error */
    double seconds;      /* from the first message sent to the last echo */
    double p50_us;
    double p99_us;
} uvb_load_result;

/* Connects to a TCP echo server at a numeric IPv4 or IPv6 host. A peer that shows no progress for
   timeout_s, here or in a later run, is given up with UV_ETIMEDOUT. */
int uvb_load_tcp_open(const char *host, int port, int connections, size_t message_size,
                      double timeout_s, uvb_load **opened);

/* The same for a UDP server that answers each datagram with `answers` copies of it. `window`
   datagrams are kept in flight, of at least 8 bytes each; with 0 answers none ever comes back
   and the server is flooded. */
int uvb_load_udp_open(const char *host, int port, int window, int answers, size_t message_size,
                      double timeout_s, uvb_load **opened);

/* Keeps one message in flight on every connection, or the window full, until `messages` were sent
   (0: no limit) or `seconds` have passed, then waits for what is still under way. */
int uvb_load_run(uvb_load *load, uint64_t messages, double seconds, uvb_load_result *result);

void uvb_load_close(uvb_load *load);
