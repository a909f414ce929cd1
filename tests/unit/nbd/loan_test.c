/* SPDX-License-Identifier: Apache-2.0 */
/* loan_test - reads that a device lends instead of copying: whatever becomes of the request, what
 * was lent is given back (rig_stop() counts), and nobody waits for what need not be waited for. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server/block/blkdev.h"
#include "server/nbd/peer.h"
#include "tests/unit/nbd/raw.h"
#include "tests/unit/nbd/rig.h"

#define TOKEN    0xa1
#define LENGTH   4096u
#define SHORT    512u                  /* too short to be lent */
#define LONG     (2 * PEER_SURE_BYTES) /* long enough to wait for others' buffers */
#define PAYLOAD  (2 * PEER_BYTES_MAX)  /* alone more than a peer's share */
#define HOG      (32u << 20)
#define HOGS     (ALL_BYTES_MAX / HOG)
#define LAST     0x1a57u
#define HOG_DISK 2u

/* Disk n is granted and open. */
static int opened(struct rig *r, unsigned n, struct wire *w)
{
    rig_grant(r, n, true, TOKEN);
    return raw_opened(r, n, TOKEN, w);
}

static void expect_data(int fd, uint64_t cookie, size_t length)
{
    uint8_t *data = malloc(length);

    raw_expect_reply(fd, cookie, 0);
    raw_get(fd, data, length);
    for (size_t i = 0; i < length; i++)
        assert_int_equal(data[i], 0x5a);
    free(data);
}

static void a_lent_read_is_answered_and_given_back(void **state)
{
    struct rig *r = rig_start(NULL);
    struct wire *w = calloc(1, sizeof *w);

    (void)state;
    memset(rig_bytes(r, 0), 0x5a, LENGTH);
    rig_lending(r, 0, true);
    int fd = opened(r, 0, w);
    wire_request(w, NBDW_CMD_READ, 0, 1, 0, LENGTH);
    raw_put(fd, w);
    expect_data(fd, 1, LENGTH);
    assert_int_equal(rig_count(r, 0, BLK_READ), 0);
    close(fd);
    rig_stop(r);
    free(w);
}

/* It takes no memory of ours, so a large write before it is no reason to wait: and none to keep
 * what was lent. */
static void lent_reads_pass_a_write_that_has_used_up_the_share(void **state)
{
    enum { READS = 8 };
    struct rig *r = rig_start(NULL);
    struct wire *w = calloc(1, sizeof *w);
    uint8_t *payload = calloc(1, PAYLOAD);

    (void)state;
    memset(rig_bytes(r, 0), 0x5a, RIG_SIZE);
    rig_lending(r, 0, true);
    rig_hold(r, 0, BLK_WRITE, true);
    int fd = opened(r, 0, w);
    wire_request(w, NBDW_CMD_WRITE, 0, LAST, 0, PAYLOAD);
    raw_put(fd, w);
    assert_int_equal(send(fd, payload, PAYLOAD, MSG_NOSIGNAL), PAYLOAD);
    w->length = 0;
    for (unsigned i = 0; i < READS; i++)
        wire_request(w, NBDW_CMD_READ, 0, i, 0, LENGTH);
    raw_put(fd, w);
    for (unsigned i = 0; i < READS; i++)
        expect_data(fd, i, LENGTH);
    assert_true(rig_wait_held(r, 0, 1));
    rig_hold(r, 0, BLK_WRITE, false);
    rig_release(r, 0, 1);
    raw_expect_reply(fd, LAST, 0);
    close(fd);
    rig_stop(r);
    free(payload);
    free(w);
}

static void a_read_beyond_the_number_of_requests_is_not_lent_yet(void **state)
{
    struct rig *r = rig_start(NULL);
    struct wire *w = calloc(1, sizeof *w);
    uint8_t data[SHORT];

    (void)state;
    memset(rig_bytes(r, 0), 0x5a, LENGTH);
    rig_lending(r, 0, true);
    rig_hold(r, 0, BLK_READ, true);
    int fd = opened(r, 0, w);
    for (unsigned i = 0; i < PEER_REQUESTS_MAX; i++)
        wire_request(w, NBDW_CMD_READ, 0, i, 0, SHORT);
    wire_request(w, NBDW_CMD_READ, 0, LAST, 0, LENGTH);
    raw_put(fd, w);
    assert_true(rig_wait_held(r, 0, PEER_REQUESTS_MAX));
    assert_int_equal(rig_loans(r, 0), 0);
    rig_release(r, 0, PEER_REQUESTS_MAX);
    for (unsigned i = 0; i < PEER_REQUESTS_MAX; i++) {
        raw_expect_reply(fd, i, 0);
        raw_get(fd, data, sizeof data);
    }
    expect_data(fd, LAST, LENGTH);
    close(fd);
    rig_stop(r);
    free(w);
}

/* Reads that use up what all may have; they are held. */
static void hogs_start(struct rig *r, int fds[static HOGS], struct wire *w)
{
    rig_grant(r, HOG_DISK, false, TOKEN);
    rig_hold(r, HOG_DISK, BLK_READ, true);
    rig_fail(r, HOG_DISK, BLK_READ, HOGS, -EIO);
    for (unsigned i = 0; i < HOGS; i++) {
        fds[i] = raw_opened(r, HOG_DISK, TOKEN, w);
        wire_request(w, NBDW_CMD_READ, 0, i, 0, HOG);
        raw_put(fds[i], w);
        assert_true(rig_wait_held(r, HOG_DISK, i + 1));
    }
}

/* One short read, held, and a long one that finds no buffer. */
static int starving(struct rig *r, unsigned n, struct wire *w)
{
    rig_hold(r, n, BLK_READ, true);
    int fd = opened(r, n, w);
    wire_request(w, NBDW_CMD_READ, 0, 1, 0, SHORT);
    wire_request(w, NBDW_CMD_READ, 0, 2, 0, LONG);
    raw_put(fd, w);
    assert_true(rig_wait_held(r, n, 1));
    return fd;
}

/* Three wait for buffers, and the second one's read can be lent before its turn comes: it has left
 * the line, and its turn is the third one's. */
static void who_is_lent_what_it_waited_for_takes_nobodys_turn(void **state)
{
    struct rig *r = rig_start(NULL);
    struct wire *w = calloc(1, sizeof *w);
    uint8_t data[SHORT];
    int hogs[HOGS];

    (void)state;
    hogs_start(r, hogs, w);
    int first = starving(r, 0, w), lent = starving(r, 1, w), last = starving(r, 3, w);
    memset(rig_bytes(r, 1), 0x5a, LONG);
    rig_lending(r, 1, true);
    rig_release(r, 1, 1);
    raw_expect_reply(lent, 1, 0);
    raw_get(lent, data, sizeof data);
    expect_data(lent, 2, LONG);

    rig_release(r, HOG_DISK, 1);
    assert_true(rig_wait_held(r, 0, 2));
    assert_true(rig_wait_held(r, 3, 2));

    rig_release(r, HOG_DISK, HOGS);
    rig_release(r, 0, 2);
    rig_release(r, 3, 2);
    close(first);
    close(lent);
    close(last);
    for (unsigned i = 0; i < HOGS; i++)
        close(hogs[i]);
    rig_stop(r);
    free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_lent_read_is_answered_and_given_back),
        cmocka_unit_test(lent_reads_pass_a_write_that_has_used_up_the_share),
        cmocka_unit_test(a_read_beyond_the_number_of_requests_is_not_lent_yet),
        cmocka_unit_test(who_is_lent_what_it_waited_for_takes_nobodys_turn),
    };
    return cmocka_run_group_tests_name("nbd, loans", tests, NULL, NULL);
}
