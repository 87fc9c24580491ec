/* Every crossing from C into Python, declared once: build_ffi.py makes each of these an
 * `extern "Python"` function, our C sources include this file for the prototypes.
 * `self` is always the cffi handle of the Python object that the callback belongs to. */
void uvb_on_close(void *self);
void uvb_on_wakeup(void *self);
void uvb_on_exhausted(void *self);
void uvb_on_unwatched(int error);
void uvb_on_walk(void *self, void *found);
void uvb_on_later(void *self, int early);

void uvb_on_connection(void *self, int status);
void uvb_on_alloc(void *self);
void uvb_on_read(void *self, const char *data, ssize_t nread);
void uvb_on_write_failed(void *self, int status);
void uvb_on_request(void *self, int status);

void uvb_on_datagram(void *self, const char *data, ssize_t nread,
                     const struct sockaddr *sender, int flags);
void uvb_on_batch(void *self);

void uvb_on_timer(void *self);
void uvb_on_async(void *self);
void uvb_on_signal(void *self, int signum);
void uvb_on_poll(void *self, int status, int events);
void uvb_on_watcher(void *self);
