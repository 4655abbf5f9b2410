/* Tells each connection who its client is: gcc -I../../include -o client client.c && ./client 0.0.0.0 8080 */
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "proxyip.h"

static void print(FILE *to, const union proxyip_address *address, char end)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];

	getnameinfo(&address->sa, sizeof *address, host, sizeof host, port, sizeof port,
		    NI_NUMERICHOST | NI_NUMERICSERV);
	fprintf(to, "%s %s%c", host, port, end);
}

int main(int argc, char **argv)
{
	struct addrinfo hints = { .ai_flags = AI_PASSIVE, .ai_socktype = SOCK_STREAM }, *own;
	int listener, connection, one = 1;

	if (argc != 3 || getaddrinfo(argv[1], argv[2], &hints, &own) != 0)
		return fprintf(stderr, "usage: %s ADDRESS PORT\n", argv[0]), 2;
	listener = socket(own->ai_family, own->ai_socktype, own->ai_protocol);
	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (bind(listener, own->ai_addr, own->ai_addrlen) != 0 || listen(listener, 128) != 0)
		return perror(argv[1]), 1;
	signal(SIGPIPE, SIG_IGN); /* a client may have gone before it is told */
	while ((connection = accept(listener, NULL, NULL)) >= 0) {
		FILE *stream = fdopen(connection, "w");
		struct proxyip_info info;
		socklen_t length = sizeof info;

		if (getsockopt(connection, PROXYIP_LEVEL, PROXYIP_INFO, &info, &length) == 0) {
			print(stream, &info.client, ' ');
			print(stream, &info.destination, '\n');
		} else {
			fprintf(stream, "no header\n"); /* errno says why */
		}
		fclose(stream);
	}
	return perror("accept"), 1;
}
