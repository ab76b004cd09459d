/* Clients that try unknown recipients, in one epoll loop.
 *
 * usage: reject_load PORT TOTAL SESSIONS EACH
 *
 * SESSIONS connections at a time; each says EHLO, MAIL, EACH times RCPT (waiting for every answer),
 * QUIT, until TOTAL recipients were refused. Prints one line of JSON. In C, so that on two cores it
 * is the server that is measured: in Python the load took as much CPU as the server. Its own CPU
 * seconds are in the JSON.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define LIMIT 300.0 /* seconds, whatever has happened */
#define ROOM 8192

struct client {
    int handle, number, step;
    size_t filled;
    char buffer[ROOM];
};

static int poll_handle, port, each;
static long total, started, refused, wrong;
static char complaint[61];

static double seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void complain(const char *what) {
    wrong++;
    if (!complaint[0])
        for (int n = 0; n < 60 && what[n]; n++)
            complaint[n] = what[n] < ' ' || what[n] == '"' || what[n] == '\\' ? ' ' : what[n];
}

static void start(struct client *c) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    int yes = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    memset(c, 0, sizeof *c);
    c->number = started++;
    c->handle = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(c->handle, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (c->handle < 0 || connect(c->handle, (struct sockaddr *)&to, sizeof to) < 0) {
        perror("reject_load: connect");
        exit(1);
    }
    epoll_ctl(poll_handle, EPOLL_CTL_ADD, c->handle, &event);
}

/* The line that follows answer number `step`; 0 for the greeting. Returns its length, 0 at the end. */
static int next_line(const struct client *c, char *line) {
    if (c->step == 0)
        return sprintf(line, "EHLO client.example.net\r\n");
    if (c->step == 1)
        return sprintf(line, "MAIL FROM:<sender@example.net>\r\n");
    if (c->step < each + 2)
        return sprintf(line, "RCPT TO:<nobody%d.%d@example.com>\r\n", c->number, c->step);
    return c->step == each + 2 ? sprintf(line, "QUIT\r\n") : 0;
}

/* Whether the buffer holds a complete reply; `last` is then its last line. */
static int complete(struct client *c, char **last) {
    if (!c->filled || c->buffer[c->filled - 1] != '\n')
        return 0;
    c->buffer[c->filled] = 0;
    *last = c->buffer;
    for (char *p = c->buffer; (p = strchr(p, '\n')) && p[1]; p++)
        *last = p + 1;
    return strlen(*last) > 3 && (*last)[3] != '-';
}

/* Returns 0 when the session is over. */
static int readable(struct client *c) {
    char line[128], *last;
    int length, is_rcpt = c->step >= 3 && c->step < each + 3;
    ssize_t got = recv(c->handle, c->buffer + c->filled, ROOM - 1 - c->filled, 0);
    if (got <= 0) {
        complain("connection closed");
        return 0;
    }
    c->filled += got;
    if (!complete(c, &last))
        return c->filled < ROOM - 1;
    if (strncmp(last, is_rcpt ? "550" : "2", is_rcpt ? 3 : 1) != 0) {
        complain(last);
        return 0;
    }
    refused += is_rcpt;
    c->filled = 0;
    if (!(length = next_line(c, line)))
        return 0;
    c->step++;
    if (send(c->handle, line, length, MSG_NOSIGNAL) == length)
        return 1;
    complain("cannot send");
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 5) {
        fprintf(stderr, "usage: reject_load PORT TOTAL SESSIONS EACH\n");
        return 2;
    }
    port = atoi(argv[1]), total = atol(argv[2]), each = atoi(argv[4]);
    int sessions = atoi(argv[3]), open = 0;
    if (port < 1 || total < 1 || sessions < 1 || sessions > 1000 || each < 1) {
        fprintf(stderr, "reject_load: numbers out of range\n");
        return 2;
    }
    struct client *clients = calloc(sessions, sizeof *clients);
    struct epoll_event events[64];
    double begin = seconds();
    poll_handle = epoll_create1(0);
    for (; open < sessions && started * each < total; open++)
        start(&clients[open]);
    while (open && seconds() - begin < LIMIT) {
        int ready = epoll_wait(poll_handle, events, 64, 5000);
        for (int n = 0; n < ready; n++) {
            struct client *c = events[n].data.ptr;
            if (readable(c))
                continue;
            close(c->handle);
            if (started * each < total)
                start(c);
            else
                open--;
        }
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    printf("{\"seconds\": %.3f, \"refused\": %ld, \"wrong\": {", seconds() - begin, refused);
    if (wrong)
        printf("\"%s\": %ld", complaint, wrong);
    printf("}, \"client_cpu\": %.2f}\n",
           used.ru_utime.tv_sec + used.ru_stime.tv_sec +
               (used.ru_utime.tv_usec + used.ru_stime.tv_usec) / 1e6);
    return 0;
}
