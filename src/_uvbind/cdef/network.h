int uv_if_indextoname(unsigned int index, char *buffer, size_t *size);
int uv_if_indextoiid(unsigned int index, char *buffer, size_t *size);
int uv_ip_name(const struct sockaddr *address, char *host, size_t size);
int uv_inet_ntop(int family, const void *packed, char *text, size_t size);
int uv_inet_pton(int family, const char *text, void *packed);
int uv_os_gethostname(char *buffer, size_t *size);
uv_handle_type uv_guess_handle(int file);
