/* SPDX-License-Identifier: Apache-2.0 */
/* import_url - downloads by libcurl, with resuming of our own: libcurl moves the bytes of one
 * request, we decide what they are and whether to ask again.  It must never know what is in the
 * file. */
#include "server/control/import_url.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <curl/curl.h>

#include "server/base/auto.h"
#include "server/base/checked.h"
#include "server/base/clock.h"
#include "server/base/file.h"
#include "server/control/import_sink.h"

#define TRIES_MAX       6u /* in a row without anything new */
#define FIRST_PAUSE_NS  (250 * NS_PER_MS)
#define REDIRECTS_MAX   5L
#define CONNECT_SECONDS 20L
#define STALL_SECONDS   60L
#define VALIDATOR_SIZE  200u
#define UNKNOWN         UINT64_MAX

struct download {
    const char *url;
    uint64_t limit_bytes;
    struct job_progress *progress;
    CURL *curl;
    int fd;
    char curl_error[CURL_ERROR_SIZE];

    uint64_t have;                  /* bytes of the file that are here, from the front */
    uint64_t best;                  /* the most there ever were */
    uint64_t total;                 /* of the whole file, or UNKNOWN */
    char validator[VALIDATOR_SIZE]; /* a strong ETag or a date: names this content; "" = none */

    /* The answer that is coming in. */
    long status;
    bool checked, framed; /* its head has been looked at; its end can be told from a break */
    uint64_t length, range_start, range_total; /* or UNKNOWN */
    char etag[VALIDATOR_SIZE], modified[VALIDATOR_SIZE];
    int rc; /* ours, with its words, when we broke it off */
    struct err err;
};

enum outcome { WHOLE, BROKEN, REFUSED };

static void auto_curl(CURL **c)
{
    curl_easy_cleanup(*c);
}

static void auto_slist(struct curl_slist **l)
{
    curl_slist_free_all(*l);
}

/* ---- the head of an answer --------------------------------------------------------------------*/

/* Digits alone, up to 2^62. */
static bool read_number(const char **text, uint64_t *ret)
{
    uint64_t n = 0;
    const char *p = *text;

    for (; *p >= '0' && *p <= '9'; p++) {
        if (n > (1ull << 62) / 10)
            return false;
        n = n * 10 + (uint64_t)(*p - '0');
    }
    if (p == *text)
        return false;
    *text = p;
    *ret = n;
    return true;
}

/* "bytes FIRST-LAST/TOTAL"; an asterisk is an unknown TOTAL (RFC 9110 14.4). */
static void read_range(struct download *d, const char *text)
{
    uint64_t first, last, total = UNKNOWN;

    if (strncasecmp(text, "bytes ", 6) != 0)
        return;
    text += 6;
    if (!read_number(&text, &first) || *text++ != '-' || !read_number(&text, &last) ||
        *text++ != '/' || (*text != '*' && !read_number(&text, &total)))
        return;
    if (last < first || (total != UNKNOWN && last >= total))
        return;
    d->range_start = first;
    d->range_total = total;
}

static void copy_value(char ret_text[static VALIDATOR_SIZE], const char *value)
{
    if (strlen(value) < VALIDATOR_SIZE)
        strcpy(ret_text, value);
}

/* A new answer begins: also after a redirect, and after "100 Continue". */
static void begin_answer(struct download *d, const char *line)
{
    d->checked = false;
    d->framed = strncasecmp(line, "HTTP/1", 6) != 0; /* later ones frame everything */
    d->length = d->range_start = d->range_total = UNKNOWN;
    d->etag[0] = d->modified[0] = '\0';
}

static size_t on_header(char *data, size_t size, size_t count, void *ctx)
{
    struct download *d = ctx;
    char line[512];
    size_t length = size * count, n = length < sizeof line ? length : sizeof line - 1;
    const char *value;

    memcpy(line, data, n);
    line[n] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    if (strncasecmp(line, "HTTP/", 5) == 0) {
        begin_answer(d, line);
        return length;
    }
    char *colon = strchr(line, ':');
    if (!colon || length >= sizeof line)
        return length;
    *colon = '\0';
    value = colon + 1 + strspn(colon + 1, " \t");
    if (strcasecmp(line, "Content-Length") == 0) {
        if (read_number(&value, &d->length))
            d->framed = true;
    } else if (strcasecmp(line, "Transfer-Encoding") == 0) {
        d->framed |= strcasestr(value, "chunked") != NULL;
    } else if (strcasecmp(line, "Content-Range") == 0) {
        read_range(d, value);
    } else if (strcasecmp(line, "ETag") == 0) {
        if (value[0] == '"') /* a weak one (W/) does not name the bytes */
            copy_value(d->etag, value);
    } else if (strcasecmp(line, "Last-Modified") == 0) {
        copy_value(d->modified, value);
    }
    return length;
}

/* ---- the body ---------------------------------------------------------------------------------*/

static int start_over(struct download *d, struct err *e)
{
    d->have = 0;
    d->total = UNKNOWN;
    d->validator[0] = '\0';
    return ftruncate(d->fd, 0) < 0 ? err_errno(e, "empty the scratch file") : 0;
}

static int too_large(const struct download *d, struct err *e)
{
    return err_set(e, -EFBIG,
                   "the file behind the URL is larger than this server's limit of %" PRIu64
                   " bytes (image-limit)",
                   d->limit_bytes);
}

/* The first byte of the body: does it continue what is here, or begin anew? */
static int check_answer(struct download *d, struct err *e)
{
    curl_easy_getinfo(d->curl, CURLINFO_RESPONSE_CODE, &d->status);
    d->checked = true;
    if (d->status != 200 && d->status != 206)
        return 0; /* its body is not the file */
    bool goes_on = d->status == 206 && d->have > 0 && d->range_start == d->have &&
                   (d->total == UNKNOWN || d->range_total == d->total);
    if (d->status == 206 && !goes_on)
        return err_set(e, -EIO, "the web server answered with another part than was asked for");
    if (!goes_on) {
        int rc = start_over(d, e);
        if (rc < 0)
            return rc;
        d->total = d->length;
        strcpy(d->validator, d->etag[0] ? d->etag : d->modified);
        if (!d->framed)
            return err_set(e, -EINVAL,
                           "the web server does not say how long the file is, so that a broken "
                           "transfer would look like a whole one; download it and import the file");
    }
    if (d->total != UNKNOWN && d->total > d->limit_bytes)
        return too_large(d, e);
    atomic_store(&d->progress->total_bytes, d->total == UNKNOWN ? 0 : d->total);
    return 0;
}

static bool all_zero(const char *p, size_t length)
{
    return length > 0 && p[0] == 0 && memcmp(p, p + 1, length - 1) == 0;
}

static int store_bytes(struct download *d, const char *data, size_t length, struct err *e)
{
    uint64_t end;

    if (!checked_add(d->have, length, &end) || end > d->limit_bytes)
        return too_large(d, e);
    for (size_t done = 0; done < length && !all_zero(data, length);) {
        ssize_t n = pwrite(d->fd, data + done, length - done, (off_t)(d->have + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && (errno == ENOSPC || errno == EDQUOT))
            return err_set(e, -ENOSPC,
                           "the store is full: the download needs space for the whole file; free "
                           "some and import again");
        if (n < 0)
            return err_errno(e, "write the scratch file");
        done += (size_t)n;
    }
    d->have = end;
    if (d->have > d->best)
        d->best = d->have;
    atomic_store(&d->progress->done_bytes, d->have);
    return 0;
}

static size_t on_body(char *data, size_t size, size_t count, void *ctx)
{
    struct download *d = ctx;
    size_t length = size * count;

    if (!d->checked)
        d->rc = check_answer(d, &d->err);
    if (d->rc == 0 && (d->status == 200 || d->status == 206))
        d->rc = store_bytes(d, data, length, &d->err);
    return d->rc < 0 ? CURL_WRITEFUNC_ERROR : length;
}

static int on_progress(void *ctx, curl_off_t down_total, curl_off_t down, curl_off_t up_total,
                       curl_off_t up)
{
    const struct download *d = ctx;

    (void)down_total;
    (void)down;
    (void)up_total;
    (void)up;
    return atomic_load(&d->progress->cancel);
}

/* ---- one request ------------------------------------------------------------------------------*/

static void configure(struct download *d)
{
    CURL *c = d->curl;
    bool secure = strncasecmp(d->url, "https:", 6) == 0;

    curl_easy_setopt(c, CURLOPT_URL, d->url);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_REDIR_PROTOCOLS_STR, secure ? "https" : "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 1L);
    curl_easy_setopt(c, CURLOPT_MAXREDIRS, REDIRECTS_MAX);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, CONNECT_SECONDS);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_LIMIT, 1L);
    curl_easy_setopt(c, CURLOPT_LOW_SPEED_TIME, STALL_SECONDS);
    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_QUICK_EXIT, 1L);
    curl_easy_setopt(c, CURLOPT_USERAGENT, "gridboxd/" GRIDBOX_VERSION);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, d->curl_error);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, d);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, d);
    curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(c, CURLOPT_XFERINFODATA, d);
}

/* Would asking again help?  Not before the first byte: then the URL is wrong, or nobody is there.
 */
static enum outcome judge(struct download *d, CURLcode code, struct err *e)
{
    if (d->rc < 0) {
        err_set(e, d->rc, "%s", d->err.msg);
        return REFUSED;
    }
    if (code != CURLE_OK) {
        err_set(e, -EIO, "%s", d->curl_error[0] ? d->curl_error : curl_easy_strerror(code));
        return d->best > 0 ? BROKEN : REFUSED;
    }
    if (d->status == 416 && d->have > 0) { /* the range is no longer there: the file changed */
        err_set(e, -EIO, "the file behind the URL changed while it was read");
        return start_over(d, e) < 0 ? REFUSED : BROKEN;
    }
    if (d->status != 200 && d->status != 206) {
        bool passing = d->status >= 500 || d->status == 429 || d->status == 408;

        err_set(e, -EINVAL, "the web server answered %ld%s", d->status,
                d->status == 404                       ? " (not found)"
                : d->status == 401 || d->status == 403 ? " (not allowed)"
                                                       : "");
        return passing && d->best > 0 ? BROKEN : REFUSED;
    }
    if (d->total != UNKNOWN && d->have < d->total) {
        err_set(e, -EIO, "the transfer ended too soon");
        return BROKEN;
    }
    return WHOLE;
}

/* Asks for what is missing. */
static enum outcome ask(struct download *d, struct err *e)
{
    AUTO(auto_slist) struct curl_slist *headers = NULL;
    char range[40], if_range[VALIDATOR_SIZE + 16];

    /* Without a validator the parts might be of different files: from the front, then. */
    if (d->have > 0 && !d->validator[0] && start_over(d, e) < 0)
        return REFUSED;
    if (d->have > 0) {
        snprintf(range, sizeof range, "%" PRIu64 "-", d->have);
        snprintf(if_range, sizeof if_range, "If-Range: %s", d->validator);
        headers = curl_slist_append(NULL, if_range);
        if (!headers) {
            err_set(e, -ENOMEM, "out of memory");
            return REFUSED;
        }
    }
    curl_easy_setopt(d->curl, CURLOPT_RANGE, d->have > 0 ? range : NULL);
    curl_easy_setopt(d->curl, CURLOPT_HTTPHEADER, headers);
    d->curl_error[0] = '\0';
    d->checked = false;
    d->status = 0;
    CURLcode code = curl_easy_perform(d->curl);
    curl_easy_setopt(d->curl, CURLOPT_HTTPHEADER, NULL);
    if (code == CURLE_OK && !d->checked) /* an answer without a body */
        d->rc = check_answer(d, &d->err);
    return judge(d, code, e);
}

/* ---- all of it --------------------------------------------------------------------------------*/

static int pause_before(unsigned tries, const struct job_progress *progress, struct err *e)
{
    int64_t until = clock_mono_ns() + (FIRST_PAUSE_NS << (tries - 1));
    int rc;

    while ((rc = import_cancelled(progress, e)) == 0 && clock_mono_ns() < until)
        nanosleep(&(struct timespec){ .tv_nsec = 50 * NS_PER_MS }, NULL);
    return rc;
}

static int fetch(struct download *d, struct err *e)
{
    unsigned tries = 0; /* in a row that brought nothing new */
    enum outcome outcome;

    do {
        uint64_t best = d->best;
        int rc = tries ? pause_before(tries, d->progress, e) : 0;

        if (rc < 0)
            return rc;
        outcome = ask(d, e);
        rc = import_cancelled(d->progress, e);
        if (rc < 0)
            return rc;
        tries = d->best > best ? 1 : tries + 1;
    } while (outcome == BROKEN && tries < TRIES_MAX);
    if (outcome == WHOLE)
        return ftruncate(d->fd, (off_t)d->have) < 0 ? err_errno(e, "write the scratch file") : 0;
    if (outcome == BROKEN)
        return err_wrap(e, -EIO,
                        "the transfer broke off after %" PRIu64 " bytes, %u times in a row",
                        d->best, tries - 1);
    return e ? e->code : -EIO;
}

static int open_scratch(const char *dir, int *ret_fd, struct err *e)
{
    char path[4096];
    int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

    /* Not every file system knows files without names. */
    if (fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR)) {
        if (snprintf(path, sizeof path, "%s/download.XXXXXX", dir) >= (int)sizeof path)
            return err_set(e, -ENAMETOOLONG, "%s: the path is too long", dir);
        fd = mkostemp(path, O_CLOEXEC);
        if (fd >= 0)
            unlink(path);
    }
    if (fd < 0)
        return err_errno(e, "make a scratch file in %s", dir);
    *ret_fd = fd;
    return 0;
}

int url_fetch(const struct import_source *source, struct job_progress *progress, int *ret_fd,
              struct err *e)
{
    AUTO(auto_curl) CURL *curl = curl_easy_init();
    AUTO(auto_close) int fd = -1;
    AUTO(auto_free) struct download *d = calloc(1, sizeof *d);
    struct err mine = { 0 };
    int rc;

    if (strncasecmp(source->where, "http://", 7) != 0 &&
        strncasecmp(source->where, "https://", 8) != 0)
        return err_set(e, -EINVAL, "not a URL that can be read: http:// and https:// can");
    if (!curl || !d)
        return err_set(e, -ENOMEM, "out of memory");
    rc = open_scratch(source->scratch_dir, &fd, e);
    if (rc < 0)
        return rc;
    *d = (struct download){ .url = source->where,
                            .limit_bytes = source->limit_bytes,
                            .progress = progress,
                            .curl = curl,
                            .fd = fd,
                            .total = UNKNOWN };
    configure(d);
    atomic_store(&progress->done_bytes, 0);
    atomic_store(&progress->total_bytes, 0);
    atomic_store(&progress->phase, "download");
    rc = fetch(d, &mine);
    if (rc < 0)
        return err_set(e, rc, "%s", mine.msg);
    *ret_fd = take_fd(&fd);
    return 0;
}
