struct addrinfo; /* the platform's */

typedef struct { struct addrinfo *addrinfo; ...; } uv_getaddrinfo_t;
typedef struct { char host[...]; char service[...]; ...; } uv_getnameinfo_t;

void uv_freeaddrinfo(struct addrinfo *found);
