/* What the load generators for TCP and UDP share. */
#ifndef UVB_LOAD_H
#define UVB_LOAD_H

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "cdef/load.h"

enum {
    /* Messages begin at one of this many places in the pattern (a prime, so that the step below
       visits all of them). No two in a row are alike: bytes that are stale, shifted or another
       message's do not compare equal. */
    MESSAGE_STARTS = 4093,
    START_PER_MESSAGE = 17,
    /* The latency histogram has this many buckets for every power of two: 6 % apart at most. */
    BUCKETS_PER_OCTAVE = 16,
    BUCKETS = 62 * BUCKETS_PER_OCTAVE
};

/* The beginning of a tcp_load or a udp_load, which has the handles. */
struct uvb_load {
    uv_loop_t loop;
    void (*start)(uvb_load *load);              /* a run begins */
    void (*turn)(uvb_load *load, uint64_t now); /* a turn of the loop has ended; may be NULL */
    void (*close)(uvb_load *load);              /* uv_close all handles */
    void *own;                                  /* memory to be freed in the end */
    size_t message_size;
    char *pattern;
    uint64_t timeout_ns;
    uint64_t progress_at;
    uint64_t outstanding; /* connects or messages whose echoes are still awaited */
    uint64_t to_send;
    int error; /* the first; it ends the run, and every later one */
    uvb_load_result result;
    uint64_t latencies;
    uint64_t histogram[BUCKETS];
};

/* Makes a load of `size` bytes, its own members 0 and with `own_size` bytes of own memory, and
   reads the address; what it returns in `made` is uvb_load_close's also when more fails. */
int uvb_load_new(size_t size, size_t own_size, const char *host, int port, size_t message_size,
                 double timeout_s, struct sockaddr_storage *address, uvb_load **made);

int uvb_load_poll(uvb_load *load, uint64_t stop_sending_at);
void uvb_load_fail(uvb_load *load, int error);
void uvb_load_count_latency(uvb_load *load, uint64_t ns);

#endif
