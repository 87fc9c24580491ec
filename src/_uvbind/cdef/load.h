/* The load generator of `uvbind bench` (load.c): C on libuv with a loop of its own, no Python.
   The functions return 0 or a libuv error code. Not for use by two threads at once. */

typedef struct uvb_load uvb_load;

/* What one run saw. A latency is the time from sending a message to the last byte of its echo. */
typedef struct {
    uint64_t messages;          /* echoes that came back whole */
    uint64_t bytes;             /* bytes that came back */
    uint64_t mismatches;        /* reads that held a wrong byte, or one too many */
    uint64_t connection_errors; /* connections that failed; the run returns the first's error */
    double seconds;             /* from the first message sent to the last echo */
    double p50_us;
    double p99_us;
} uvb_load_result;

/* Connects to an echo server at a numeric IPv4 or IPv6 host. A peer that shows no progress for
   timeout_s, here or in a later run, is given up with UV_ETIMEDOUT. */
int uvb_load_tcp_open(const char *host, int port, int connections, size_t message_size,
                      double timeout_s, uvb_load **opened);

/* Keeps one message in flight on every connection until `messages` were sent (0: no limit) or
   `seconds` have passed, then waits for the echoes still under way. */
int uvb_load_run(uvb_load *load, uint64_t messages, double seconds, uvb_load_result *result);

void uvb_load_close(uvb_load *load);
