/* A load generator for event streams and for fixed rates, which wrk does not do. Usage: load PORT CONNECTIONS SECONDS RATE REQUEST_FILE
 *
 * One thread, epoll, keep-alive. RATE 0: every connection sends its next request when it has the answer to the last one; else so many
 * requests a second, each on a connection that is free. Requests that nobody is free for are counted as missed. Prints one JSON object.
 * "first": until the first byte of the answer, "whole": until its last; both in microseconds.
 */
#define _GNU_SOURCE
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

#define HEAD_MAX 8192
#define SAMPLES_MAX 4000000

struct connection {
    int socket, is_busy, has_head, is_chunked, status;
    size_t sent, head_filled, left;
    long sent_at, first_at;
    char head[HEAD_MAX], tail[5], last;
};

static struct connection *connections;
static int count, poll_set, port;
static char *request;
static size_t request_length;
static long *first_us, *whole_us;
static unsigned long requests, failures, events, missed, opened;
static int is_over;

static long now_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000L + now.tv_nsec;
}

static void fail(const char *what) { perror(what); exit(1); }

static void open_one(struct connection *one) {
    int on = 1;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr = {htonl(INADDR_LOOPBACK)}};
    memset(one, 0, sizeof *one);
    one->socket = socket(AF_INET, SOCK_STREAM, 0);
    if (one->socket < 0 || connect(one->socket, (struct sockaddr *)&address, sizeof address)) fail("connect");
    setsockopt(one->socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    epoll_ctl(poll_set, EPOLL_CTL_ADD, one->socket, &event);
    opened++;
}

static void reopen(struct connection *one) {
    if (one->is_busy) failures++;
    close(one->socket);
    if (!is_over) open_one(one);
}

static void begin(struct connection *one) {
    one->is_busy = 1;
    one->has_head = one->is_chunked = one->status = 0;
    one->head_filled = one->left = 0;
    one->first_at = 0;
    memset(one->tail, 0, sizeof one->tail);
    one->last = 0;
    one->sent_at = now_ns();
    for (one->sent = 0; one->sent < request_length;) {
        ssize_t written = write(one->socket, request + one->sent, request_length - one->sent);
        if (written < 0) { reopen(one); return; }
        one->sent += (size_t)written;
    }
}

static void finish(struct connection *one) {
    one->is_busy = 0;
    if (one->status != 200) { failures++; return; }
    if (requests < SAMPLES_MAX) {
        first_us[requests] = (one->first_at - one->sent_at) / 1000;
        whole_us[requests] = (now_ns() - one->sent_at) / 1000;
    }
    requests++;
}

/* Bytes of the body: an event ends in a blank line, a chunked body in its empty chunk. 1 when the answer is whole. */
static int take(struct connection *one, const char *bytes, size_t length) {
    for (size_t at = 0; at < length; at++) {
        if (bytes[at] == '\n' && one->last == '\n') events++;
        one->last = bytes[at];
    }
    if (!one->is_chunked) {
        one->left -= length < one->left ? length : one->left;
        return one->left == 0;
    }
    size_t kept = length < 5 ? 5 - length : 0, fresh = 5 - kept;
    memmove(one->tail, one->tail + 5 - kept, kept);
    memcpy(one->tail + kept, bytes + length - fresh, fresh);
    return !memcmp(one->tail, "0\r\n\r\n", 5);
}

/* Bytes of the head. Returns how many of them were the head's, -1 if it is too large. */
static ssize_t take_head(struct connection *one, const char *bytes, size_t length) {
    size_t before = one->head_filled, copied = length < HEAD_MAX - 1 - before ? length : HEAD_MAX - 1 - before;
    memcpy(one->head + before, bytes, copied);
    one->head_filled += copied;
    one->head[one->head_filled] = 0;
    char *blank = strstr(one->head, "\r\n\r\n");
    if (!blank) return one->head_filled == HEAD_MAX - 1 ? -1 : (ssize_t)length;
    one->has_head = 1;
    one->status = atoi(one->head + 9);
    char *line = strcasestr(one->head, "\r\ncontent-length:");
    one->is_chunked = !line;
    one->left = line ? strtoul(line + 17, NULL, 10) : 0;
    return blank + 4 - one->head - (ssize_t)before;
}

static void receive(struct connection *one) {
    static char bytes[262144];
    ssize_t got = read(one->socket, bytes, sizeof bytes);
    if (got <= 0 || !one->is_busy) { reopen(one); return; }
    if (!one->first_at) one->first_at = now_ns();
    ssize_t from = 0;
    if (!one->has_head) {
        from = take_head(one, bytes, (size_t)got);
        if (from < 0) { reopen(one); return; }
        if (!one->has_head) return;
    }
    if (take(one, bytes + from, (size_t)(got - from))) finish(one);
}

static int by_size(const void *left, const void *right) {
    long difference = *(const long *)left - *(const long *)right;
    return (difference > 0) - (difference < 0);
}

static void print_quantiles(const char *name, long *samples) {
    size_t filled = requests < SAMPLES_MAX ? requests : SAMPLES_MAX;
    qsort(samples, filled, sizeof *samples, by_size);
    printf(", \"%s_us\": [%ld, %ld, %ld]", name, filled ? samples[filled / 2] : 0, filled ? samples[filled * 95 / 100] : 0,
        filled ? samples[filled * 99 / 100] : 0);
}

static void read_request(const char *path) {
    FILE *file = fopen(path, "rb");
    if (!file) fail(path);
    fseek(file, 0, SEEK_END);
    request_length = (size_t)ftell(file);
    rewind(file);
    request = malloc(request_length);
    if (fread(request, 1, request_length, file) != request_length) fail(path);
    fclose(file);
}

int main(int argc, char **argv) {
    if (argc != 6) { fprintf(stderr, "usage: load PORT CONNECTIONS SECONDS RATE REQUEST_FILE\n"); return 2; }
    port = atoi(argv[1]);
    count = atoi(argv[2]);
    double seconds = atof(argv[3]), rate = atof(argv[4]);
    read_request(argv[5]);
    struct rlimit files;
    getrlimit(RLIMIT_NOFILE, &files);
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
    poll_set = epoll_create1(0);
    connections = calloc((size_t)count, sizeof *connections);
    first_us = malloc(SAMPLES_MAX * sizeof *first_us);
    whole_us = malloc(SAMPLES_MAX * sizeof *whole_us);
    for (int index = 0; index < count; index++) open_one(&connections[index]);
    long started = now_ns(), end = started + (long)(seconds * 1e9), period = rate > 0 ? (long)(1e9 / rate) : 0, due = started;
    struct epoll_event ready[256];
    int turn = 0;
    for (int index = 0; !period && index < count; index++) begin(&connections[index]);
    for (long now = started; now < end; now = now_ns()) {
        for (; period && due <= now; due += period) {
            int tried = 0;
            while (tried < count && connections[turn].is_busy) { turn = (turn + 1) % count; tried++; }
            if (tried == count) { missed++; continue; }
            begin(&connections[turn]);
            turn = (turn + 1) % count;
        }
        long left_ns = (period ? due : end) - now;
        struct timespec patience = {left_ns > 0 ? left_ns / 1000000000L : 0, left_ns > 0 ? left_ns % 1000000000L : 0};
        int found = epoll_pwait2(poll_set, ready, 256, &patience, NULL);
        for (int index = 0; index < found; index++) {
            struct connection *one = ready[index].data.ptr;
            receive(one);
            if (!period && !one->is_busy) begin(one);
        }
    }
    is_over = 1;
    unsigned long pending = 0;
    for (int index = 0; index < count; index++) pending += (unsigned long)connections[index].is_busy;
    printf("{\"requests\": %lu, \"failures\": %lu, \"missed\": %lu, \"pending\": %lu, \"events\": %lu, \"connections\": %lu, \"seconds\": %.3f",
        requests, failures, missed, pending, events, opened, (double)(now_ns() - started) / 1e9);
    print_quantiles("first", first_us);
    print_quantiles("whole", whole_us);
    printf("}\n");
    return 0;
}
