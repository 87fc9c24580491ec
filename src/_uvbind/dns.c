/* Names: lookups in both directions. */
#include "uvbind.h"

/* One of the many reasons that getaddrinfo has no code for. */
static int checked(int status, const struct addrinfo *found) {
  return status == 0 && found == NULL ? UV_EAI_FAIL : status;
}

static void getaddrinfo_cb(uv_getaddrinfo_t *req, int status, struct addrinfo *found) {
  uvb_python_request(req->data, checked(status, found));
}

static void getnameinfo_cb(uv_getnameinfo_t *req, int status, const char *host,
                           const char *service) {
  (void)host;
  (void)service;
  uvb_python_request(req->data, status);
}

static struct addrinfo hints_of(int family, int type, int proto, int flags) {
  struct addrinfo hints; /* given always: without hints the interfaces are asked as well */

  memset(&hints, 0, sizeof hints);
  hints.ai_family = family;
  hints.ai_socktype = type;
  hints.ai_protocol = proto;
  hints.ai_flags = flags;
  return hints;
}

int uvb_getaddrinfo(uv_getaddrinfo_t *req, uvb_loop *loop, const char *host, const char *service,
                    int family, int type, int proto, int flags) {
  struct addrinfo hints = hints_of(family, type, proto, flags);

  return uv_getaddrinfo(&loop->uv, req, getaddrinfo_cb, host, service, &hints);
}

int uvb_getaddrinfo_now(uvb_loop *loop, const char *host, const char *service, int family,
                        int type, int proto, int flags, struct addrinfo **found) {
  struct addrinfo hints = hints_of(family, type, proto, flags);
  uv_getaddrinfo_t req;
  int err;

  req.addrinfo = NULL;
  loop->looking_up++;
  err = uv_getaddrinfo(&loop->uv, &req, NULL, host, service, &hints);
  loop->looking_up--;
  *found = req.addrinfo;
  return checked(err, *found);
}

int uvb_getaddrinfo_numeric(uvb_loop *loop, const char *host, const char *service, int family,
                            int type, int proto, int flags, struct addrinfo **found) {
  int err;

  *found = NULL;
  /* "1.2.3.4", "0x7f.1", "::1", "fe80::1%eth0": with the others it does not pay to ask. */
  if (host != NULL && !(*host >= '0' && *host <= '9') && strchr(host, ':') == NULL)
    return 1;
  err = uvb_getaddrinfo_now(loop, host, service, family, type, proto, flags | AI_NUMERICHOST,
                            found);
  return err == UV_EAI_NONAME && host != NULL ? 1 : err;
}

int uvb_getnameinfo(uv_getnameinfo_t *req, uvb_loop *loop, const struct sockaddr *address,
                    int flags) {
  return uv_getnameinfo(&loop->uv, req, getnameinfo_cb, address, flags);
}

int uvb_getnameinfo_now(uv_getnameinfo_t *req, uvb_loop *loop, const struct sockaddr *address,
                        int flags) {
  int err;

  loop->looking_up++;
  err = uv_getnameinfo(&loop->uv, req, NULL, address, flags);
  loop->looking_up--;
  return err;
}

int uvb_found_unpack(const struct addrinfo *found, uvb_found *unpacked, int room) {
  int count = 0;

  for (; found != NULL; found = found->ai_next, count++) {
    uvb_found *one = &unpacked[count];
    if (count >= room)
      continue;
    one->family = found->ai_family;
    one->type = found->ai_socktype;
    one->proto = found->ai_protocol;
    one->flowinfo = one->scope_id = 0;
    uvb_address_unpack(found->ai_addr, one->host, &one->port, &one->flowinfo, &one->scope_id);
  }
  return count;
}

const char *uvb_found_canonname(const struct addrinfo *found) { return found->ai_canonname; }

/* The C library's text for one of its EAI_* numbers, as the socket module shows it. */
const char *uvb_lookup_strerror(int number) { return gai_strerror(number); }

/* uv_cancel, noted in the same step: Ctrl-C may come between any two of Python's. What was
 * abandoned must not reach libuv: it is linked to requests that are gone. */
int uvb_lookup_cancel(void *request) {
  uvb_request *ours = request;
  int err = ours->abandoned ? 0 : uv_cancel(&ours->uv.req);

  if (err == 0)
    ours->cancelled = 1;
  return err;
}

#ifndef _WIN32

/* In a child after a fork the threads are gone. What they had done libuv delivers when it is
 * told to look; what they had not, nobody will do. */
void uvb_lookups_forked(uvb_loop *loop) {
  loop->uv.wq_async.pending = 0; /* what the parent was told does not count; libuv 1.44 keeps it */
  uv_async_send(&loop->uv.wq_async);
}

static struct uv__work *work_of(void *request) {
  uv_getaddrinfo_t *by_name = request;
  uv_getnameinfo_t *by_address = request;

  return by_name->type == UV_GETADDRINFO ? &by_name->work_req : &by_address->work_req;
}

/* Whether a thread was at work on it before a fork: libuv takes it off its queue then, and clears
 * `work` at the end. It is told once: a child's child has the child's count already. */
int uvb_lookup_runs(void *request) {
  uvb_request *ours = request;
  const struct uv__work *work = work_of(request);
  const void *next; /* the first of two pointers, in a struct or, up to libuv 1.46, an array */

  memcpy(&next, &work->wq, sizeof next);
  if (ours->counted || ours->abandoned || work->work == NULL || next != &work->wq)
    return 0;
  ours->counted = 1;
  return 1;
}

/* Such a lookup ends as one that was cancelled does, by libuv's own hand; Python calls back.
 * Returns 0 for one that is done or was cancelled before; a second call does nothing more. */
int uvb_lookup_abandon(void *request) {
  uvb_request *ours = request;
  uv_getaddrinfo_t *by_name = request;
  uv_getnameinfo_t *by_address = request;
  struct uv__work *work = work_of(request);

  if (ours->abandoned)
    return 1;
  if (ours->cancelled || work->work == NULL)
    return 0;
  ours->abandoned = 1;
  if (by_name->type == UV_GETADDRINFO) {
    by_name->cb = NULL;
    by_name->retcode = 0;
  } else {
    by_address->getnameinfo_cb = NULL;
    by_address->retcode = 0;
  }
  work->done(work, UV_ECANCELED);
  return 1;
}

#else

void uvb_lookups_forked(uvb_loop *loop) { (void)loop; }

int uvb_lookup_runs(void *request) {
  (void)request;
  return 0;
}

int uvb_lookup_abandon(void *request) {
  (void)request;
  return 0;
}

#endif
