/* Makes one allocation of the extension fail, put before the C library with LD_PRELOAD.
 *
 * The extension and the libuv in it are told from all others by the address that an allocation returns
 * to. */
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *block, size_t size);

static uintptr_t from, to, begin_of_file;
static int nth, seen;
static void *failed; /* where the one that failed was called */

/* From now on: which allocation is to fail, of code between these addresses; 0 is none. */
void fail_allocation(int which, uintptr_t begin, uintptr_t end) {
  nth = which;
  from = begin;
  to = end;
  __atomic_store_n(&seen, 0, __ATOMIC_SEQ_CST);
}

/* How many allocations there were; no other fails. */
int count_allocations(void) {
  to = 0;
  return __atomic_load_n(&seen, __ATOMIC_SEQ_CST);
}

/* The process aborts: tells on standard error, in hexadecimal, how far into the extension's code the
 * allocation was that failed. */
static void aborted(int signal) {
  char text[] = "\nfailed at +0000000000000000\n";
  uintptr_t offset = (uintptr_t)failed - begin_of_file;
  for (int i = 0; i < 16; i++, offset >>= 4)
    text[sizeof text - 3 - i] = "0123456789abcdef"[offset & 15];
  if (failed != NULL && write(2, text, sizeof text - 1) < 0)
    _exit(1);
  raise(signal); /* SA_RESETHAND */
}

void tell_aborts(uintptr_t file) {
  struct sigaction action = {.sa_handler = aborted, .sa_flags = SA_RESETHAND | SA_NODEFER};
  begin_of_file = file;
  sigaction(SIGABRT, &action, NULL);
}

static int fails(void *caller) {
  if ((uintptr_t)caller < from || (uintptr_t)caller >= to)
    return 0;
  if (__atomic_add_fetch(&seen, 1, __ATOMIC_SEQ_CST) != nth)
    return 0;
  failed = caller;
  errno = ENOMEM;
  return 1;
}

void *malloc(size_t size) {
  return fails(__builtin_return_address(0)) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
  return fails(__builtin_return_address(0)) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size) {
  return fails(__builtin_return_address(0)) ? NULL : __libc_realloc(block, size);
}
