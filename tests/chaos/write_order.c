/* Records in what order a process writes its journal, syncs it, and sends orders.
 *
 * Preloaded with LD_PRELOAD. One line per call on the write-ahead log or on a TCP connection is appended to the file
 * named by WRITE_ORDER_LOG: monotonic nanoseconds at which the call began and at which it returned, what was done,
 * and every client id ("mm-...") found in the data.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define LINE_BYTES 8192

static int log_fd(void) {
  static int fd = -2;
  if (fd == -2) {
    const char *path = getenv("WRITE_ORDER_LOG");
    fd = path ? open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644) : -1;
  }
  return fd;
}

static long long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static int is_wal(int fd) {
  char link[64], path[4096];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t n = readlink(link, path, sizeof path - 1);
  if (n < 4) return 0;
  path[n] = 0;
  return strstr(path, "journal.sqlite-wal") != NULL;
}

static int is_tcp(int fd) {
  int domain = 0, type = 0;
  socklen_t size = sizeof domain;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size)) return 0;
  size = sizeof type;
  if (getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size)) return 0;
  return (domain == AF_INET || domain == AF_INET6) && type == SOCK_STREAM;
}

static int is_id_char(char c) {
  return c == '-' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z');
}

static void record(const char *what, long long began_ns, const struct iovec *parts, int count) {
  if (log_fd() < 0) return;
  char line[LINE_BYTES];
  int used = snprintf(line, sizeof line, "%lld %lld %s", began_ns, now_ns(), what);
  for (int p = 0; p < count; p++) {
    const char *data = parts[p].iov_base, *end = data + parts[p].iov_len;
    while (data && data < end && (data = memmem(data, end - data, "mm-", 3))) {
      const char *stop = data;
      while (stop < end && is_id_char(*stop)) stop++;
      if (used + (stop - data) + 2 < LINE_BYTES)
        used += snprintf(line + used, sizeof line - used, " %.*s", (int)(stop - data), data);
      data = stop;
    }
  }
  line[used++] = '\n';
  syscall(SYS_write, log_fd(), line, used);
}

#define REAL(name, ...)                                   \
  static ssize_t (*real)(__VA_ARGS__);                    \
  if (!real) real = (ssize_t(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static void record_buffer(const char *what, long long began_ns, const void *data, size_t size) {
  struct iovec part = {(void *)data, size};
  record(what, began_ns, &part, 1);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
  REAL("pwrite", int, const void *, size_t, off_t);
  long long began_ns = now_ns();
  ssize_t done = real(fd, data, size, at);
  if (is_wal(fd)) record_buffer("write", began_ns, data, size);
  return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
  REAL("pwrite64", int, const void *, size_t, off64_t);
  long long began_ns = now_ns();
  ssize_t done = real(fd, data, size, at);
  if (is_wal(fd)) record_buffer("write", began_ns, data, size);
  return done;
}

ssize_t write(int fd, const void *data, size_t size) {
  REAL("write", int, const void *, size_t);
  long long began_ns = now_ns();
  ssize_t done = real(fd, data, size);
  if (is_wal(fd)) record_buffer("write", began_ns, data, size);
  else if (is_tcp(fd)) record_buffer("send", began_ns, data, size);
  return done;
}

ssize_t send(int fd, const void *data, size_t size, int flags) {
  REAL("send", int, const void *, size_t, int);
  long long began_ns = now_ns();
  ssize_t done = real(fd, data, size, flags);
  if (is_tcp(fd)) record_buffer("send", began_ns, data, size);
  return done;
}

ssize_t sendto(int fd, const void *data, size_t size, int flags, const struct sockaddr *to, socklen_t to_size) {
  REAL("sendto", int, const void *, size_t, int, const struct sockaddr *, socklen_t);
  long long began_ns = now_ns();
  ssize_t done = real(fd, data, size, flags, to, to_size);
  if (is_tcp(fd)) record_buffer("send", began_ns, data, size);
  return done;
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
  REAL("sendmsg", int, const struct msghdr *, int);
  long long began_ns = now_ns();
  ssize_t done = real(fd, message, flags);
  if (is_tcp(fd)) record("send", began_ns, message->msg_iov, (int)message->msg_iovlen);
  return done;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL("writev", int, const struct iovec *, int);
  long long began_ns = now_ns();
  ssize_t done = real(fd, parts, count);
  if (is_tcp(fd)) record("send", began_ns, parts, count);
  return done;
}

int fsync(int fd) {
  REAL("fsync", int);
  long long began_ns = now_ns();
  int done = (int)real(fd);
  if (is_wal(fd)) record("sync", began_ns, NULL, 0);
  return done;
}

int fdatasync(int fd) {
  REAL("fdatasync", int);
  long long began_ns = now_ns();
  int done = (int)real(fd);
  if (is_wal(fd)) record("sync", began_ns, NULL, 0);
  return done;
}
