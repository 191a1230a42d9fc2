/* The fastest Claude API there is. Usage: upstream PORT [CERTIFICATE.pem KEY.pem]
 *
 * One thread, epoll, keep-alive, TLS where a certificate is given. A request whose body asks for a stream gets 100 events, back to back
 * or, where its text says "pace=N", one every N milliseconds; every other request gets one JSON message. It finds the end of a request by
 * its content-length and looks at nothing else, so that what the benchmark measures is the proxy. SIGUSR1 makes it print how many
 * connections it has accepted and how many requests it has answered.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CAPACITY (512 * 1024)
#define MAX_READY 256
#define STREAM_EVENTS 100

struct connection {
    int socket, index, next, is_slow;      /* index: of streams[], -1 when none runs; next: chunk of the stream to send */
    SSL *tls;
    long pace_ns, due_ns;
    size_t filled, capacity, sent;
    char *bytes;
};

struct chunk { char *bytes; size_t length; };

static struct chunk answer, chunks[STREAM_EVENTS + 2];          /* the chunks of a stream lie one behind the other */
static char stream[65536];
static size_t stream_length;
static struct connection **streams;
static size_t running, room;
static unsigned long accepted, answered;
static volatile sig_atomic_t is_asked;
static int poll_set;

static long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static const char HEADERS[] =
    "request-id: req_011CSHoEeqs5C35K2UUqR7Fy\r\nanthropic-organization-id: 00000000-0000-4000-8000-000000000001\r\n"
    "anthropic-ratelimit-requests-limit: 1000000\r\nanthropic-ratelimit-requests-remaining: 999999\r\n"
    "anthropic-ratelimit-requests-reset: 2026-11-22T18:00:00Z\r\n"
    "anthropic-ratelimit-input-tokens-limit: 900000000\r\nanthropic-ratelimit-input-tokens-remaining: 900000000\r\n"
    "anthropic-ratelimit-input-tokens-reset: 2026-11-22T18:00:00Z\r\n"
    "anthropic-ratelimit-output-tokens-limit: 900000000\r\nanthropic-ratelimit-output-tokens-remaining: 900000000\r\n"
    "anthropic-ratelimit-output-tokens-reset: 2026-11-22T18:00:00Z\r\n";
static const char USAGE[] = "{\"input_tokens\":512,\"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":%d}";

static struct chunk append(const char *text, size_t length) {
    struct chunk chunk = {stream + stream_length, length};
    memcpy(chunk.bytes, text, length);
    stream_length += length;
    return chunk;
}

static void make_answer(void) {
    char body[4096], words[1600], usage[256], whole[8192];
    size_t at = 0;
    while (at + 16 < sizeof words) at += (size_t)sprintf(words + at, "steady answer ");
    snprintf(usage, sizeof usage, USAGE, 350);
    int length = snprintf(body, sizeof body,
        "{\"id\":\"msg_01ABCDEFGHIJKLMNOPQRSTUV\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-5-5\","
        "\"content\":[{\"type\":\"text\",\"text\":\"%s\"}],\"stop_reason\":\"end_turn\",\"stop_sequence\":null,\"usage\":%s}", words, usage);
    int total = snprintf(whole, sizeof whole, "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n%scontent-length: %d\r\n\r\n%s",
        HEADERS, length, body);
    answer = (struct chunk){strdup(whole), (size_t)total};
}

static void make_event(int index, const char *name, const char *data) {
    char event[1024], framed[1100];
    int length = snprintf(event, sizeof event, "event: %s\ndata: {\"type\":\"%s\"%s}\n\n", name, name, data);
    chunks[index] = append(framed, (size_t)snprintf(framed, sizeof framed, "%x\r\n%s\r\n", length, event));
}

static void make_stream(void) {
    char head[2048], data[512], usage[256];
    int last = STREAM_EVENTS;
    chunks[0] = append(head, (size_t)snprintf(head, sizeof head,
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\ncache-control: no-cache\r\n%s"
        "transfer-encoding: chunked\r\n\r\n", HEADERS));
    snprintf(usage, sizeof usage, USAGE, 1);
    snprintf(data, sizeof data, ",\"message\":{\"id\":\"msg_01ABCDEFGHIJKLMNOPQRSTUV\",\"type\":\"message\",\"role\":\"assistant\","
        "\"model\":\"claude-sonnet-5-5\",\"content\":[],\"stop_reason\":null,\"stop_sequence\":null,\"usage\":%s}", usage);
    make_event(1, "message_start", data);
    make_event(2, "content_block_start", ",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}");
    make_event(3, "ping", "");
    for (int index = 4; index < last - 2; index++)
        make_event(index, "content_block_delta", ",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" a few words more\"}");
    make_event(last - 2, "content_block_stop", ",\"index\":0");
    make_event(last - 1, "message_delta",
        ",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":350}");
    make_event(last, "message_stop", "");
    chunks[last + 1] = append("0\r\n\r\n", 5);
}

static void leave(struct connection *client) {
    if (client->index < 0) return;
    streams[client->index] = streams[--running];
    streams[client->index]->index = client->index;
    client->index = -1;
}

static void end(struct connection *client) {
    leave(client);
    if (client->tls) SSL_free(client->tls);
    close(client->socket);
    free(client->bytes);
    free(client);
}

static ssize_t get(struct connection *client, char *into, size_t size) {
    if (!client->tls) return read(client->socket, into, size);
    int count = SSL_read(client->tls, into, (int)size), error = SSL_get_error(client->tls, count);
    if (count > 0) return count;
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}

static ssize_t put(struct connection *client, const char *bytes, size_t size) {
    if (!client->tls) return write(client->socket, bytes, size);
    int count = SSL_write(client->tls, bytes, (int)size), error = SSL_get_error(client->tls, count);
    if (count > 0) return count;
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPIPE;
    return -1;
}

/* Wait for room in the socket (1), or for the next request only (0). */
static void watch(struct connection *client, int is_slow) {
    if (client->is_slow == is_slow) return;
    client->is_slow = is_slow;
    struct epoll_event event = {.events = EPOLLIN | (is_slow ? EPOLLOUT : 0), .data.ptr = client};
    epoll_ctl(poll_set, EPOLL_CTL_MOD, client->socket, &event);
}

static size_t chunk_end(int index) { return (size_t)(chunks[index].bytes - stream) + chunks[index].length; }

/* Send what is due of the stream. 0 if the connection is gone. */
static int pump(struct connection *client, long now) {
    while (client->sent < stream_length) {      /* one event a write, as the API sends them */
        while (client->sent >= chunk_end(client->next)) if (client->next++ > 2) client->due_ns += client->pace_ns;
        if (client->pace_ns && client->next > 3 && now < client->due_ns && client->sent == chunk_end(client->next - 1)) return 1;
        ssize_t count = put(client, stream + client->sent, chunk_end(client->next) - client->sent);
        if (count < 0 && errno == EAGAIN) { watch(client, 1); return 1; }
        if (count < 0) { end(client); return 0; }
        client->sent += (size_t)count;
    }
    watch(client, 0);
    leave(client);
    answered++;
    return 1;
}

/* Length of the first whole request in the buffer, 0 if there is none yet. */
static size_t whole_request(struct connection *client, char **body_at, size_t *body_length) {
    char *blank = memmem(client->bytes, client->filled, "\r\n\r\n", 4);
    if (!blank) return 0;
    size_t body = 0;
    *blank = 0;
    for (char *line = client->bytes; line; line = strstr(line, "\r\n")) {
        if (*line == '\r') line += 2;
        if (!strncasecmp(line, "content-length:", 15)) body = strtoul(line + 15, NULL, 10);
    }
    *blank = '\r';
    *body_at = blank + 4;
    *body_length = body;
    size_t length = (size_t)(blank - client->bytes) + 4 + body;
    return length <= client->filled ? length : 0;
}

static int begin(struct connection *client, const char *body, size_t length) {
    size_t looked_at = length < 8192 ? length : 0;   /* streams are asked for by small requests only */
    char *streamed = memmem(body, looked_at, "\"stream\":", 9);
    if (!streamed || (strncmp(streamed + 9, "true", 4) && strncmp(streamed + 9, " true", 5))) {
        answered++;
        return put(client, answer.bytes, answer.length) == (ssize_t)answer.length;
    }
    char *pace = memmem(body, looked_at, "pace=", 5);
    client->pace_ns = pace ? strtol(pace + 5, NULL, 10) * 1000000L : 0;
    client->next = 0;
    client->sent = 0;
    client->due_ns = now_ns() + client->pace_ns;
    if (running == room) streams = realloc(streams, (room = room * 2 + 64) * sizeof *streams);
    client->index = (int)running;
    streams[running++] = client;
    return 1;
}

static void serve(struct connection *client) {
    if (client->is_slow && !pump(client, now_ns())) return;
    for (;;) {
        if (client->capacity - client->filled < 1) {
            if (client->capacity >= CAPACITY) { end(client); return; }
            client->bytes = realloc(client->bytes, client->capacity *= 4);
        }
        ssize_t count = get(client, client->bytes + client->filled, client->capacity - client->filled);
        if (count < 0 && (errno == EAGAIN || errno == EINTR)) return;
        if (count <= 0) { end(client); return; }
        client->filled += (size_t)count;
        char *body;
        size_t body_length;
        for (size_t length; client->index < 0 && (length = whole_request(client, &body, &body_length));) {
            int is_fine = begin(client, body, body_length);
            client->filled -= length;
            memmove(client->bytes, client->bytes + length, client->filled);
            if (!is_fine) { end(client); return; }
            if (client->index >= 0 && !pump(client, now_ns())) return;
        }
        if (!client->tls || !SSL_pending(client->tls)) return;
    }
}

static void welcome(int listener, SSL_CTX *context) {
    int on = 1, socket = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (socket < 0) return;
    accepted++;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct connection *client = calloc(1, sizeof *client);
    client->socket = socket;
    client->index = -1;
    client->bytes = malloc(client->capacity = 8192);
    if (context) {
        client->tls = SSL_new(context);
        SSL_set_fd(client->tls, socket);
        SSL_set_accept_state(client->tls);
    }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
    epoll_ctl(poll_set, EPOLL_CTL_ADD, socket, &event);
}

static SSL_CTX *make_context(const char *certificate, const char *key) {
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (SSL_CTX_use_certificate_chain_file(context, certificate) == 1 && SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1)
        return context;
    fprintf(stderr, "upstream: %s and %s are no certificate and key\n", certificate, key);
    exit(2);
}

static void ask(int number) { is_asked = number; }

int main(int argc, char **argv) {
    if (argc != 2 && argc != 4) { fprintf(stderr, "usage: upstream PORT [CERTIFICATE.pem KEY.pem]\n"); return 2; }
    SSL_CTX *context = argc == 4 ? make_context(argv[2], argv[3]) : NULL;
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR1, ask);
    make_answer();
    make_stream();
    int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    poll_set = epoll_create1(0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(argv[1])), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 4096)) { perror("upstream"); return 1; }
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL}, ready_events[MAX_READY];
    epoll_ctl(poll_set, EPOLL_CTL_ADD, listener, &event);
    for (;;) {
        int ready = epoll_wait(poll_set, ready_events, MAX_READY, running ? 1 : -1);
        for (int index = 0; index < ready; index++) {
            if (ready_events[index].data.ptr) serve(ready_events[index].data.ptr);
            else welcome(listener, context);
        }
        long now = running ? now_ns() : 0;
        for (size_t index = running; index-- > 0;)
            if (index < running && streams[index]->pace_ns && !streams[index]->is_slow) pump(streams[index], now);
        if (is_asked) {
            is_asked = 0;
            printf("%lu %lu\n", accepted, answered);
            fflush(stdout);
        }
    }
}
