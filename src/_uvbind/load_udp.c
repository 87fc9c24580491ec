/* The load generator for UDP: a window of datagrams, each of which is answered with so many copies
   of it. None: a flood for a sink; one: an echo; many: what asks a source for more.

   A datagram carries its number, then the pattern from a place that follows from the number.
   One that is not answered for GRACE of the timeout is lost, and another takes its place. */

#include "load.h"

#ifdef __linux__
#include <sys/socket.h>
#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#endif

enum {
    MOST_DATAGRAM = 65507,
    ROOM = 64 * 1024,      /* libuv's for one datagram */
    RECEIVED_AT_ONCE = 20, /* and how many of them it fills with one call */
    SENT_AT_ONCE = 32,
    GRACE = 100
};

typedef struct {
    uint64_t number; /* that many more than the one that had this place before as there are places */
    uint64_t sent_at;
    uint64_t heard_at;
    int awaited; /* answers */
} request;

typedef struct {
    uvb_load common;
    uv_udp_t udp;
    request *window;
    uint64_t window_size;
    int answers;
    int segmented; /* the kernel cuts what is sent into datagrams */
    uint64_t given_up; /* lost answers, which may yet come */
    uint64_t swept_at;
    char outgoing[MOST_DATAGRAM];
    char receive[RECEIVED_AT_ONCE * ROOM];
} udp_load;

static const char *message_of(const udp_load *load, uint64_t number)
{
    return load->common.pattern + number * START_PER_MESSAGE % MESSAGE_STARTS;
}

/* Sending costs several times what receiving does, and a server that waits for its load is not
   measured but idle. So one call sends many, even through the kernel's UDP as one. */
static void send_segmented(udp_load *load)
{
#ifdef __linux__
    uv_os_fd_t fd;
    int size = (int)load->common.message_size;
    load->segmented = uv_fileno((uv_handle_t *)&load->udp, &fd) == 0 &&
                      setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof size) == 0;
#else
    load->segmented = 0;
#endif
}

/* Returns how many of the outgoing datagrams were sent. */
static int send_outgoing(udp_load *load, int count)
{
    size_t size = load->common.message_size;
    int calls = load->segmented ? 1 : count, done = 0, error = 0;
    while (done < calls && error == 0) {
        uv_buf_t buf = uv_buf_init(load->outgoing + (size_t)done * size,
                                   (unsigned)(load->segmented ? (size_t)count * size : size));
        error = uv_udp_try_send(&load->udp, &buf, 1, NULL);
        if (error >= 0) {
            error = 0;
            done++;
        }
    }
    if (error != 0 && error != UV_EAGAIN)
        uvb_load_fail(&load->common, error);
    return load->segmented ? done * count : done;
}

/* Fills the free places of the window. */
static void send_requests(udp_load *load)
{
    uvb_load *common = &load->common;
    size_t size = common->message_size;
    uint64_t place = 0;
    while (place < load->window_size && common->to_send > 0 && common->error == 0) {
        request *sending[SENT_AT_ONCE];
        int count = 0;
        for (; place < load->window_size && count < SENT_AT_ONCE &&
               (uint64_t)count < common->to_send && (size_t)(count + 1) * size <= MOST_DATAGRAM;
             place++) {
            request *r = &load->window[place];
            if (r->awaited > 0)
                continue;
            uint64_t number = r->number + load->window_size;
            char *message = load->outgoing + (size_t)count * size;
            memcpy(message, message_of(load, number), size);
            memcpy(message, &number, sizeof number);
            sending[count++] = r;
        }
        if (count == 0)
            break;
        uint64_t now = uv_hrtime();
        int sent = send_outgoing(load, count);
        for (int i = 0; i < sent; i++) {
            sending[i]->number += load->window_size;
            sending[i]->sent_at = sending[i]->heard_at = now;
            sending[i]->awaited = load->answers;
        }
        common->to_send -= (uint64_t)sent;
        common->result.sent += (uint64_t)sent;
        if (load->answers > 0)
            common->outstanding += (uint64_t)sent;
        else if (sent > 0)
            common->progress_at = now;
        if (sent < count)
            break;
    }
}

static void give_up(udp_load *load, uint64_t now)
{
    uvb_load *common = &load->common;
    uint64_t grace = common->timeout_ns / GRACE;
    if (now < load->swept_at + grace)
        return;
    load->swept_at = now;
    for (uint64_t place = 0; place < load->window_size; place++) {
        request *r = &load->window[place];
        if (r->awaited > 0 && now >= r->heard_at + grace) {
            common->result.lost += (uint64_t)r->awaited;
            load->given_up += (uint64_t)r->awaited;
            common->outstanding--;
            r->awaited = 0;
        }
    }
}

static void turn_udp(uvb_load *common, uint64_t now)
{
    give_up((udp_load *)common, now);
    send_requests((udp_load *)common);
}

static void start_udp(uvb_load *common) { send_requests((udp_load *)common); }

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    *buf = uv_buf_init(((udp_load *)handle->data)->receive, RECEIVED_AT_ONCE * ROOM);
}

static int unharmed(const udp_load *load, const char *data, size_t size, uint64_t *number)
{
    if (size != load->common.message_size)
        return 0;
    memcpy(number, data, sizeof *number);
    return memcmp(data + sizeof *number, message_of(load, *number) + sizeof *number,
                  size - sizeof *number) == 0;
}

static void on_receive(uv_udp_t *udp, ssize_t nread, const uv_buf_t *buf,
                       const struct sockaddr *sender, unsigned flags)
{
    udp_load *load = udp->data;
    uvb_load *common = &load->common;
    uint64_t number = 0;
    (void)flags;
    if (nread < 0) {
        uvb_load_fail(common, (int)nread);
        return;
    }
    if (sender == NULL) /* there is nothing to receive */
        return;
    common->result.bytes += (uint64_t)nread;
    if (!unharmed(load, buf->base, (size_t)nread, &number)) {
        common->result.mismatches++;
        return;
    }
    request *r = &load->window[number % load->window_size];
    if (r->number == number && r->awaited > 0) {
        common->progress_at = r->heard_at = uv_hrtime();
        common->result.messages++;
        if (--r->awaited == 0) {
            common->outstanding--;
            uvb_load_count_latency(common, r->heard_at - r->sent_at);
        }
    } else if (number <= r->number && load->given_up > 0) {
        load->given_up--;
        if (common->result.lost > 0) { /* not so, as it turns out */
            common->result.lost--;
            common->result.messages++;
        }
    } else
        common->result.mismatches++;
}

static void close_udp(uvb_load *common)
{
    uv_close((uv_handle_t *)&((udp_load *)common)->udp, NULL);
}

static void nothing_to_close(uvb_load *common) { (void)common; }

int uvb_load_udp_open(const char *host, int port, int window, int answers, size_t message_size,
                      double timeout_s, uvb_load **opened)
{
    struct sockaddr_storage address;
    uvb_load *common;
    *opened = NULL;
    if (window < 1 || answers < 0 || message_size < sizeof(uint64_t) ||
        message_size > MOST_DATAGRAM)
        return UV_EINVAL;
    int error = uvb_load_new(sizeof(udp_load), (size_t)window * sizeof(request), host, port,
                             message_size, timeout_s, &address, &common);
    if (error != 0)
        return error;
    udp_load *load = (udp_load *)common;
    common->start = start_udp;
    common->turn = turn_udp;
    common->close = nothing_to_close;
    load->window = common->own;
    load->window_size = (uint64_t)window;
    load->answers = answers;
    for (uint64_t place = 0; place < load->window_size; place++)
        load->window[place].number = place;
    error = uv_udp_init_ex(&common->loop, &load->udp, UV_UDP_RECVMMSG);
    if (error == 0) {
        common->close = close_udp;
        load->udp.data = load;
        error = uv_udp_connect(&load->udp, (const struct sockaddr *)&address);
    }
    if (error == 0) {
        send_segmented(load);
        error = uv_udp_recv_start(&load->udp, on_alloc, on_receive);
    }
    if (error != 0)
        uvb_load_close(common);
    else
        *opened = common;
    return error;
}
