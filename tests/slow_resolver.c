/* A C library that looks some names up as slowly as a test wants, put before the real one with
 * LD_PRELOAD: a lookup of slow.<anything> says on one descriptor that it has begun, then waits
 * for a byte on another; one of late.<anything> does so when its result is being delivered.
 * The name "latin" and the port 8859 have a name that is not UTF-8. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void wait_for_leave(void) {
  char byte = 0;
  if (write(atoi(getenv("SLOW_BEGAN")), &byte, 1) != 1 ||
      read(atoi(getenv("SLOW_LEAVE")), &byte, 1) < 0)
    abort();
}

static __thread int late;

/* libuv tells a loop of a lookup by writing to a descriptor, with a lock of the loop's held. */
ssize_t write(int fd, const void *data, size_t size) {
  ssize_t (*real)(int, const void *, size_t) = dlsym(RTLD_NEXT, "write");
  if (late) {
    late = 0;
    wait_for_leave();
  }
  return real(fd, data, size);
}

int getaddrinfo(const char *host, const char *service, const struct addrinfo *hints,
                struct addrinfo **found) {
  int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **) =
      dlsym(RTLD_NEXT, "getaddrinfo");
  if (host != NULL && strcmp(host, "latin") == 0) {
    int error = real("127.0.0.1", service, hints, found);
    if (error == 0 && (*found)->ai_canonname != NULL)
      strcpy((*found)->ai_canonname, "caf\xe9");
    return error;
  }
  if (host != NULL && strncmp(host, "late.", 5) == 0) {
    late = 1;
    return real("127.0.0.1", service, hints, found);
  }
  if (host == NULL || strncmp(host, "slow.", 5) != 0)
    return real(host, service, hints, found);
  wait_for_leave();
  return real("127.0.0.1", service, hints, found);
}

int getnameinfo(const struct sockaddr *address, socklen_t size, char *host, socklen_t host_size,
                char *service, socklen_t service_size, int flags) {
  int (*real)(const struct sockaddr *, socklen_t, char *, socklen_t, char *, socklen_t, int) =
      dlsym(RTLD_NEXT, "getnameinfo");
  if (((const struct sockaddr_in *)address)->sin_port == htons(8859)) {
    strcpy(host, "caf\xe9");
    strcpy(service, "8859");
    return 0;
  }
  if (!(flags & NI_NUMERICHOST))
    wait_for_leave();
  return real(address, size, host, host_size, service, service_size, flags | NI_NUMERICHOST);
}
