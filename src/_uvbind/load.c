/* A load generator for servers, on a private libuv loop: load_tcp.c, load_udp.c, and here what
   they share.

   It polls and never sleeps: a sleeping peer makes the faster server pay for waking it, so the
   comparison would favour the slower one. It allocates nothing per message, and checks every byte
   that comes back. Opening and running are apart so that the caller can warm the connections up
   and read the server's CPU clock with nothing in flight. */

#include "load.h"

void uvb_load_count_latency(uvb_load *load, uint64_t ns)
{
    unsigned shift = 0;
    while ((ns >> shift) >= 2 * BUCKETS_PER_OCTAVE)
        shift++;
    load->histogram[shift * BUCKETS_PER_OCTAVE + (unsigned)(ns >> shift)]++;
    load->latencies++;
}

static double percentile_us(const uvb_load *load, double fraction)
{
    uint64_t seen = 0, wanted = (uint64_t)(fraction * (double)load->latencies);
    for (unsigned i = 0; i < BUCKETS; i++) {
        seen += load->histogram[i];
        if (seen > wanted) {
            unsigned shift = i < BUCKETS_PER_OCTAVE ? 0 : i / BUCKETS_PER_OCTAVE - 1;
            double low = (double)((uint64_t)(i - shift * BUCKETS_PER_OCTAVE) << shift);
            return (low + (double)((uint64_t)1 << shift) / 2) / 1e3;
        }
    }
    return 0;
}

void uvb_load_fail(uvb_load *load, int error)
{
    load->result.errors++;
    if (load->error == 0)
        load->error = error;
}

/* A peer that trickles shows progress for ever, so the time after the last send is bounded too. */
int uvb_load_poll(uvb_load *load, uint64_t stop_sending_at)
{
    load->progress_at = uv_hrtime();
    while ((load->outstanding > 0 || load->to_send > 0) && load->error == 0) {
        uint64_t now = uv_hrtime();
        if (now >= stop_sending_at)
            load->to_send = 0;
        if (now > load->progress_at + load->timeout_ns ||
            now > stop_sending_at + load->timeout_ns) {
            load->error = UV_ETIMEDOUT;
            break;
        }
        uv_run(&load->loop, UV_RUN_NOWAIT);
        if (load->turn != NULL)
            load->turn(load, now);
    }
    return load->error;
}

int uvb_load_new(size_t size, size_t own_size, const char *host, int port, size_t message_size,
                 double timeout_s, struct sockaddr_storage *address, uvb_load **made)
{
    *made = NULL;
    if (message_size < 1 || message_size > INT32_MAX)
        return UV_EINVAL;
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)address) != 0 &&
        uv_ip6_addr(host, port, (struct sockaddr_in6 *)address) != 0)
        return UV_EINVAL;
    uvb_load *load = calloc(1, size);
    if (load == NULL)
        return UV_ENOMEM;
    size_t pattern_size = message_size + MESSAGE_STARTS;
    load->own = calloc(1, own_size);
    load->pattern = malloc(pattern_size);
    if (load->own == NULL || load->pattern == NULL || uv_loop_init(&load->loop) != 0) {
        free(load->own);
        free(load->pattern);
        free(load);
        return UV_ENOMEM;
    }
    load->message_size = message_size;
    load->timeout_ns = (uint64_t)(timeout_s * 1e9);
    uint32_t noise = 1;
    for (size_t i = 0; i < pattern_size; i++) {
        noise = noise * 1664525 + 1013904223;
        load->pattern[i] = (char)(noise >> 24);
    }
    *made = load;
    return 0;
}

int uvb_load_run(uvb_load *load, uint64_t messages, double seconds, uvb_load_result *result)
{
    memset(&load->result, 0, sizeof load->result);
    memset(load->histogram, 0, sizeof load->histogram);
    load->latencies = 0;
    uint64_t begin = uv_hrtime();
    load->to_send = messages > 0 ? messages : UINT64_MAX;
    if (load->error == 0)
        load->start(load);
    int error = uvb_load_poll(load, begin + (uint64_t)(seconds * 1e9));
    load->result.seconds = (double)(uv_hrtime() - begin) / 1e9;
    load->result.p50_us = percentile_us(load, 0.50);
    load->result.p99_us = percentile_us(load, 0.99);
    *result = load->result;
    return error;
}

void uvb_load_close(uvb_load *load)
{
    load->close(load);
    uv_run(&load->loop, UV_RUN_DEFAULT); /* only close callbacks are left: it cannot block */
    uv_loop_close(&load->loop);
    free(load->own);
    free(load->pattern);
    free(load);
}
