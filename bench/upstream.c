/* The fastest Claude API there is: answers every request with the same message. Usage: upstream PORT
 *
 * One thread, epoll, keep-alive. It finds the end of a request by its content-length and looks at nothing else, so that what the
 * benchmark measures is the proxy. Memory of each connection is fixed; a request larger than it ends the connection.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CAPACITY (512 * 1024)
#define EVENTS 256

struct connection {
    int socket;
    size_t filled;
    char bytes[CAPACITY];
};

static char answer[8192];
static size_t answer_length;

static void make_answer(void) {
    char body[4096], words[1600];
    size_t at = 0;
    while (at + 16 < sizeof words) at += (size_t)sprintf(words + at, "steady answer ");
    int length = snprintf(body, sizeof body,
        "{\"id\":\"msg_01ABCDEFGHIJKLMNOPQRSTUV\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-6\","
        "\"content\":[{\"type\":\"text\",\"text\":\"%s\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,"
        "\"usage\":{\"input_tokens\":512,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":350}}", words);
    answer_length = (size_t)snprintf(answer, sizeof answer,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\n"
        "anthropic-organization-id: 00000000-0000-4000-8000-000000000001\r\n"
        "anthropic-ratelimit-requests-limit: 1000000\r\nanthropic-ratelimit-requests-remaining: 999999\r\n"
        "anthropic-ratelimit-requests-reset: 2026-11-22T18:00:00Z\r\n"
        "anthropic-ratelimit-input-tokens-limit: 900000000\r\nanthropic-ratelimit-input-tokens-remaining: 900000000\r\n"
        "anthropic-ratelimit-input-tokens-reset: 2026-11-22T18:00:00Z\r\n"
        "anthropic-ratelimit-output-tokens-limit: 900000000\r\nanthropic-ratelimit-output-tokens-remaining: 900000000\r\n"
        "anthropic-ratelimit-output-tokens-reset: 2026-11-22T18:00:00Z\r\n"
        "content-length: %d\r\n\r\n%s", length, body);
}

static void end(struct connection *client) {
    close(client->socket);
    free(client);
}

/* Length of the first whole request in the buffer, 0 if there is none yet. */
static size_t whole_request(struct connection *client) {
    char *blank = memmem(client->bytes, client->filled, "\r\n\r\n", 4);
    if (!blank) return 0;
    size_t body = 0;
    *blank = 0;
    for (char *line = client->bytes; line; line = strstr(line, "\r\n")) {
        if (*line == '\r') line += 2;
        if (!strncasecmp(line, "content-length:", 15)) body = strtoul(line + 15, NULL, 10);
    }
    *blank = '\r';
    size_t length = (size_t)(blank - client->bytes) + 4 + body;
    return length <= client->filled ? length : 0;
}

static void serve(struct connection *client) {
    ssize_t count = read(client->socket, client->bytes + client->filled, CAPACITY - client->filled);
    if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (count <= 0) { end(client); return; }
    client->filled += (size_t)count;
    for (size_t length; (length = whole_request(client));) {
        if (write(client->socket, answer, answer_length) != (ssize_t)answer_length) { end(client); return; }
        client->filled -= length;
        memmove(client->bytes, client->bytes + length, client->filled);
    }
}

int main(int argc, char **argv) {
    if (argc != 2) { fprintf(stderr, "usage: upstream PORT\n"); return 2; }
    make_answer();
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), poll = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) { perror("upstream"); return 1; }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, events[EVENTS];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poll, events, EVENTS, -1);
        for (int index = 0; index < ready; index++) {
            if (events[index].data.ptr) { serve(events[index].data.ptr); continue; }
            int socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
            if (socket < 0) continue;
            setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
            struct connection *client = calloc(1, sizeof *client);
            client->socket = socket;
            event.data.ptr = client;
            epoll_ctl(poll, EPOLL_CTL_ADD, socket, &event);
        }
    }
}
