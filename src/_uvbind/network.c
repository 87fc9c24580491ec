/* The addresses of the network interfaces. libuv's array does not leave this file, so that
 * nothing in Python can lose it: not Ctrl-C, not a lack of memory. */
#include "uvbind.h"

#include <stdio.h>

#ifndef _WIN32
#include <net/if.h>
#endif

/* The kernel is asked once for each interface, not for each address. */
static unsigned int index_of(const uv_interface_address_t *found, const unsigned int *indexes,
                             int i) {
  for (int before = i - 1; before >= 0; before--)
    if (strcmp(found[before].name, found[i].name) == 0 && indexes[before] != 0)
      return indexes[before];
#ifdef _WIN32
  return 0; /* Windows numbers them under other names than libuv gives */
#else
  return if_nametoindex(found[i].name);
#endif
}

static int ones(const unsigned char *bytes, size_t size) {
  int count = 0;
  for (size_t i = 0; i < size; i++)
    for (unsigned int byte = bytes[i]; byte != 0; byte &= byte - 1)
      count++;
  return count;
}

/* snprintf's result: the length of what was or would be written, without the last NUL. */
static int put(char *text, size_t room, const uv_interface_address_t *found, unsigned int index) {
  const unsigned char *mac = (const unsigned char *)found->phys_addr;
  const int family = found->address.address4.sin_family;
  const void *packed = &found->address.address4.sin_addr;
  const void *mask = &found->netmask.netmask4.sin_addr;
  unsigned int scope_id = 0;
  char address[UVB_HOST_SIZE], netmask[UVB_HOST_SIZE];
  int err;

  if (family == AF_INET6) {
    packed = &found->address.address6.sin6_addr;
    mask = &found->netmask.netmask6.sin6_addr;
    scope_id = found->address.address6.sin6_scope_id;
  }
  err = uv_inet_ntop(family, packed, address, sizeof address);
  if (err == 0)
    err = uv_inet_ntop(family, mask, netmask, sizeof netmask);
  if (err != 0)
    return err;
  return snprintf(text, room,
                  "%s%c%02x:%02x:%02x:%02x:%02x:%02x%c%d%c%s%c%s%c%d%c%d%c%u%c%u", found->name,
                  0, mac[0], mac[1], mac[2], mac[3], mac[4], mac[5], 0, found->is_internal != 0, 0,
                  address, 0, netmask, 0, ones(mask, family == AF_INET6 ? 16 : 4), 0, family, 0,
                  scope_id, 0, index);
}

int uvb_interface_addresses(char *text, int room) {
  uv_interface_address_t *found;
  unsigned int *indexes;
  int count, size = 0;
  int err = uvb_interfaces(&found, &count);

  if (err != 0)
    return err;
  indexes = calloc((size_t)count + 1, sizeof *indexes);
  if (indexes == NULL)
    err = UV_ENOMEM;
  for (int i = 0; i < count && err == 0; i++) {
    const int family = found[i].address.address4.sin_family;
    const int left = size < room ? room - size : 0;
    int length;

    if (found[i].name == NULL) { /* libuv's strdup */
      err = UV_ENOMEM;
      break;
    }
    if (family == AF_INET6)
      indexes[i] = found[i].address.address6.sin6_scope_id;
    if (indexes[i] == 0)
      indexes[i] = index_of(found, indexes, i);
    if (family != AF_INET && family != AF_INET6)
      continue; /* libuv lets everything through, such as a modem's addresses */
    length = put(left > 0 ? text + size : NULL, (size_t)left, &found[i], indexes[i]);
    if (length < 0)
      err = length;
    else
      size += length + 1;
  }
  free(indexes);
  uv_free_interface_addresses(found, count);
  return err != 0 ? err : size;
}
