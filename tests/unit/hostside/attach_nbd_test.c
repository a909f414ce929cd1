/* SPDX-License-Identifier: Apache-2.0 */
/* Devices kept connected through all that happens to their links, over a rehearsed server and a
 * rehearsed kernel that behaves as Linux 6.1 was seen to. */
#include "tests/unit/unit.h"

#include "hostside/attach_nbd.h"

#include <errno.h>
#include <linux/nbd.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "server/base/clock.h"
#include "server/base/log.h"
#include "server/contract/contract.h"

#define SIZE     (UINT64_C(1) << 30)
#define FLAGS    (NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA)
#define LIMIT_NS (10 * NS_PER_S)

/* One server with one export, one kernel with one device (nbd3). */
struct fake {
    struct nbd_world world;
    pthread_mutex_t lock;
    /* server */
    int refuses; /* -errno for every dial; 0 = takes them */
    uint64_t size;
    int server_end; /* of the present connection; -1 = none */
    unsigned dials;
    char dialed_export[64];
    /* kernel */
    bool connected, held, link_dead, deaf; /* deaf: does not notice that its link is dead */
    bool told;                             /* LINK_DEAD was reported */
    int link;                              /* its own duplicate; -1 = none */
    char identifier[DISK_ID_SIZE];
    unsigned offers, taken, io_timeouts, refuses_connect;
    bool waiting; /* requests wait */
};

static struct fake *fake_of(struct nbd_world *w)
{
    return (struct fake *)w;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

static bool hung_up(int fd)
{
    struct pollfd p = { .fd = fd, .events = POLLIN | POLLRDHUP };

    return poll(&p, 1, 0) > 0 && p.revents & (POLLHUP | POLLRDHUP);
}

static int fake_dial(struct nbd_world *w, const struct contract_disk *disk, struct nbd_dialed *ret,
                     struct err *e)
{
    struct fake *f = fake_of(w);
    int pair[2], rc;

    pthread_mutex_lock(&f->lock);
    f->dials++;
    rc = f->refuses;
    strcpy(f->dialed_export, disk->export_name);
    if (rc == 0) {
        close_fd(&f->server_end); /* a new connection ends the old one */
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        f->server_end = pair[0];
        *ret = (struct nbd_dialed){ .fd = pair[1], .size_bytes = f->size, .flags = FLAGS };
    }
    pthread_mutex_unlock(&f->lock);
    return rc < 0 ? err_set(e, rc, "the server refuses") : 0;
}

static bool fake_alive(struct nbd_world *w, int fd)
{
    (void)w;
    return !hung_up(fd);
}

static bool same_socket(int a, int b)
{
    struct stat x, y;

    return a >= 0 && b >= 0 && fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino;
}

static uint64_t fake_sent(struct nbd_world *w, int fd)
{
    struct fake *f = fake_of(w);
    bool used;

    pthread_mutex_lock(&f->lock);
    used = f->waiting && same_socket(fd, f->link);
    pthread_mutex_unlock(&f->lock);
    return used ? 200 : 100;
}

static int fake_connect(struct nbd_world *w, const struct nbdnl_link *link, unsigned *ret_index,
                        struct err *e)
{
    struct fake *f = fake_of(w);

    pthread_mutex_lock(&f->lock);
    assert_false(f->connected);
    f->connected = !f->refuses_connect;
    if (f->connected) {
        f->link = dup(link->fd);
        f->link_dead = f->told = false;
        strcpy(f->identifier, link->identifier);
        *ret_index = 3;
    }
    pthread_mutex_unlock(&f->lock);
    return f->connected ? 0 : err_set(e, -EBUSY, "busy");
}

static int fake_reconfigure(struct nbd_world *w, unsigned index, const struct nbdnl_link *link,
                            struct err *e)
{
    struct fake *f = fake_of(w);
    int rc = 0;

    assert_int_equal(index, 3);
    pthread_mutex_lock(&f->lock);
    f->offers++;
    if (!f->connected || strcmp(f->identifier, link->identifier) != 0) {
        rc = -EINVAL;
    } else if (f->link_dead) { /* else it is dropped, with the same answer */
        close_fd(&f->link);
        f->link = dup(link->fd);
        f->link_dead = f->told = false;
        f->taken++;
    }
    pthread_mutex_unlock(&f->lock);
    return rc < 0 ? err_set(e, rc, "not connected") : 0;
}

static int fake_disconnect(struct nbd_world *w, unsigned index, struct err *e)
{
    struct fake *f = fake_of(w);

    (void)e;
    assert_int_equal(index, 3);
    pthread_mutex_lock(&f->lock);
    f->connected = f->held; /* who holds it open keeps it visible */
    f->link_dead = f->told = true;
    close_fd(&f->link);
    pthread_mutex_unlock(&f->lock);
    return 0;
}

static int fake_list(struct nbd_world *w, struct nbd_sysfs_device *ret, unsigned max,
                     unsigned *ret_count, struct err *e)
{
    struct fake *f = fake_of(w);

    (void)e, (void)max;
    pthread_mutex_lock(&f->lock);
    *ret_count = f->connected ? 1 : 0;
    ret[0] = (struct nbd_sysfs_device){ .index = 3, .size_bytes = SIZE };
    if (f->connected)
        assert_int_equal(disk_id_parse(f->identifier, &ret[0].id), 0);
    pthread_mutex_unlock(&f->lock);
    return 0;
}

static int fake_flags(struct nbd_world *w, unsigned index, uint64_t *ret_flags, struct err *e)
{
    (void)w, (void)index, (void)e;
    *ret_flags = nbd_sysfs_visible(FLAGS);
    return 0;
}

static int fake_set_io_timeout(struct nbd_world *w, unsigned index, struct err *e)
{
    struct fake *f = fake_of(w);

    (void)index, (void)e;
    pthread_mutex_lock(&f->lock);
    f->io_timeouts++;
    pthread_mutex_unlock(&f->lock);
    return 0;
}

static bool fake_busy(struct nbd_world *w, unsigned index)
{
    struct fake *f = fake_of(w);
    bool waiting;

    (void)index;
    pthread_mutex_lock(&f->lock);
    waiting = f->waiting;
    pthread_mutex_unlock(&f->lock);
    return waiting;
}

static int fake_next_dead(struct nbd_world *w, unsigned *ret_index, unsigned max)
{
    struct fake *f = fake_of(w);
    bool tell;

    (void)max;
    poll(NULL, 0, 1);
    pthread_mutex_lock(&f->lock);
    if (!f->deaf && f->link >= 0 && hung_up(f->link))
        f->link_dead = true;
    tell = f->link_dead && !f->told && !f->deaf && f->connected;
    f->told |= tell;
    pthread_mutex_unlock(&f->lock);
    ret_index[0] = 3;
    return tell;
}

static void fake_free(struct nbd_world *w)
{
    struct fake *f = fake_of(w);

    close_fd(&f->server_end);
    close_fd(&f->link);
    free(f);
}

/* ---- helpers ---- */

static struct attach_driver *begin(struct fake **ret)
{
    struct attach_driver *a;
    struct fake *f = calloc(1, sizeof *f);

    log_set_level(LOG_LEVEL_ERROR - 1);
    *f = (struct fake){ .world = { .dial = fake_dial,
                                   .alive = fake_alive,
                                   .sent = fake_sent,
                                   .connect = fake_connect,
                                   .reconfigure = fake_reconfigure,
                                   .disconnect = fake_disconnect,
                                   .list = fake_list,
                                   .flags = fake_flags,
                                   .set_io_timeout = fake_set_io_timeout,
                                   .busy = fake_busy,
                                   .next_dead = fake_next_dead,
                                   .free = fake_free,
                                   .retry_ms = 1,
                                   .check_ms = 5,
                                   .dead_wait_ms = 20 },
                        .size = SIZE,
                        .server_end = -1,
                        .link = -1 };
    pthread_mutex_init(&f->lock, NULL);
    assert_int_equal(attach_nbd_over(&f->world, &a, NULL), 0);
    *ret = f;
    return a;
}

static struct contract_disk disk_v0(void)
{
    return (struct contract_disk){ .volume = "v0",
                                   .address = "127.0.0.1",
                                   .port = 10809,
                                   .export_name = "v0.0123",
                                   .size_bytes = SIZE,
                                   .generation = 1,
                                   .epoch = 2 };
}

static unsigned devices(struct attach_driver *a, struct attach_seen *ret)
{
    unsigned count;

    assert_int_equal(a->ops->list(a, ret, 1, &count, NULL), 0);
    return count;
}

static void wait_for_link(struct attach_driver *a, enum attach_link link)
{
    int64_t deadline = clock_mono_ns() + LIMIT_NS;
    struct pollfd p = { .fd = a->ops->event_fd(a), .events = POLLIN };
    struct attach_seen d = { 0 };

    while (devices(a, &d) != 1 || d.link != link) {
        if (clock_mono_ns() > deadline)
            fail_msg("the link is %d, not %d: %s", d.link, link, d.why);
        poll(&p, 1, 1000);
        a->ops->drain(a);
    }
}

static void wait_until(struct fake *f, bool (*is_so)(const struct fake *))
{
    int64_t deadline = clock_mono_ns() + LIMIT_NS;
    bool so = false;

    while (!so) {
        if (clock_mono_ns() > deadline)
            fail_msg("it never came to that");
        pthread_mutex_lock(&f->lock);
        so = is_so(f);
        pthread_mutex_unlock(&f->lock);
        poll(NULL, 0, 1);
    }
}

static void server_dies(struct fake *f, int refuses)
{
    pthread_mutex_lock(&f->lock);
    f->refuses = refuses;
    f->dials = 0;
    close_fd(&f->server_end);
    pthread_mutex_unlock(&f->lock);
}

static void server_is(struct fake *f, int refuses)
{
    pthread_mutex_lock(&f->lock);
    f->refuses = refuses;
    pthread_mutex_unlock(&f->lock);
}

static bool kernel_uses_the_server(const struct fake *f)
{
    return f->server_end >= 0 && f->link >= 0 && !f->link_dead && !hung_up(f->link);
}

static bool dialed_often(const struct fake *f)
{
    return f->dials >= 5;
}

/* ---- tests ---- */

static void a_volume_becomes_a_live_device(void **state)
{
    struct fake *f;
    struct attach_driver *a = begin(&f);
    struct contract_disk disk = disk_v0();
    struct attach_seen d;

    (void)state;
    assert_int_equal(a->ops->connect(a, &disk, NULL), 0);
    assert_int_equal(devices(a, &d), 1);
    assert_int_equal(d.link, ATTACH_LIVE);
    assert_string_equal(d.path, "/dev/nbd3");
    assert_string_equal(f->identifier, "v0.1.2");
    assert_int_equal(f->io_timeouts, 1);
    a->ops->free(a); /* leaves the device to the kernel */
}

static void a_disk_of_another_size_is_not_attached(void **state)
{
    struct fake *f;
    struct attach_driver *a = begin(&f);
    struct contract_disk disk = disk_v0();
    struct attach_seen d;
    struct err e = { 0 };

    (void)state;
    f->size = SIZE * 2;
    assert_int_equal(a->ops->connect(a, &disk, &e), -EPROTO);
    assert_non_null(strstr(e.msg, "attach 'v0': the server's disk has 2147483648 bytes"));
    assert_int_equal(devices(a, &d), 0);
    a->ops->free(a);
}

static void a_failed_connect_leaves_nothing(void **state)
{
    struct fake *f;
    struct attach_driver *a = begin(&f);
    struct contract_disk disk = disk_v0();
    struct attach_seen d;

    (void)state;
    f->refuses_connect = 1;
    assert_int_equal(a->ops->connect(a, &disk, NULL), -EBUSY);
    assert_int_equal(devices(a, &d), 0);
    f->refuses_connect = 0;
    assert_int_equal(a->ops->connect(a, &disk, NULL), 0);
    a->ops->free(a);
}

static void a_server_that_restarts_is_found_again(void **state)
{
    struct fake *f;
    struct attach_driver *a = begin(&f);
    struct contract_disk disk = disk_v0();

    (void)state;
    assert_int_equal(a->ops->connect(a, &disk, NULL), 0);
    server_dies(f, -ECONNREFUSED);
    wait_for_link(a, ATTACH_BROKEN);
    wait_until(f, dialed_often); /* however long it takes */
    server_is(f, 0);
    wait_for_link(a, ATTACH_LIVE);
    wait_until(f, kernel_uses_the_server);
    assert_int_equal(f->io_timeouts, 2);
    a->ops->free(a);
}

static void a_found_device_is_connected_anew(void **state)
{
    struct fake *f;
    struct attach_driver *a = begin(&f);
    struct contract_disk disk = disk_v0();
    struct nbd_dialed old;
    unsigned index;
    struct attach_seen d;

    (void)state;
    /* an agent that is gone made this one */
    assert_int_equal(fake_dial(&f->world, &disk, &old, NULL), 0);
    struct nbdnl_link link = { .fd = old.fd, .identifier = "v0.1.2" };

    assert_int_equal(fake_connect(&f->world, &link, &index, NULL), 0);
    close(old.fd);
    assert_int_equal(devices(a, &d), 1);
    assert_int_equal(d.link, ATTACH_FOUND);
    assert_int_equal(a->ops->keep(a, 3, &disk, NULL), 0);
    wait_for_link(a, ATTACH_LIVE);
    wait_until(f, kernel_uses_the_server);
    assert_int_equal(f->dials, 2);
    assert_int_equal(a->ops->keep(a, 3, &disk, NULL), 0); /* idempotent */
    assert_int_equal(f->dials, 2);
    a->ops->free(a);
}

static void another_life_of_the_volume_is_not_kept(void **state)
{
    struct fake *f;
    struct attach_driver *a = begin(&f);
    struct contract_disk disk = disk_v0();

    (void)state;
    f->connected = true;
    strcpy(f->identifier, "v0.1.1");
    assert_int_equal(a->ops->keep(a, 3, &disk, NULL), -ESTALE);
    a->ops->free(a);
}

static bool offered(const struct fake *f)
{
    return f->offers > 0;
}

static void a_socket_that_the_kernel_dropped_is_offered_again(void **state)
{
    struct fake *f;
    struct attach_driver *a = begin(&f);
    struct contract_disk disk = disk_v0();

    (void)state;
    assert_int_equal(a->ops->connect(a, &disk, NULL), 0);
    pthread_mutex_lock(&f->lock);
    f->deaf = true;
    f->waiting = true;
    pthread_mutex_unlock(&f->lock);
    server_dies(f, 0);
    wait_until(f, offered);
    assert_int_equal(f->taken, 0); /* it said ok all the same */
    pthread_mutex_lock(&f->lock);
    f->link_dead = f->told = true; /* it notices at last, and its event is lost */
    f->deaf = false;
    pthread_mutex_unlock(&f->lock);
    wait_until(f, kernel_uses_the_server);
    assert_int_equal(f->taken, 1);
    a->ops->free(a);
}

static void a_refusal_is_believed_the_third_time(void **state)
{
    struct fake *f;
    struct attach_driver *a = begin(&f);
    struct contract_disk disk = disk_v0();
    struct attach_seen d;

    (void)state;
    assert_int_equal(a->ops->connect(a, &disk, NULL), 0);
    server_dies(f, -ESTALE);
    wait_for_link(a, ATTACH_STALE);
    assert_int_equal(f->dials, 3);
    assert_int_equal(devices(a, &d), 1);
    assert_string_equal(d.why, "the server refuses");
    a->ops->free(a);
}

static void a_server_that_is_not_ready_is_not_believed_to_refuse(void **state)
{
    struct fake *f;
    struct attach_driver *a = begin(&f);
    struct contract_disk disk = disk_v0();
    struct attach_seen d;

    (void)state;
    assert_int_equal(a->ops->connect(a, &disk, NULL), 0);
    server_dies(f, -EAGAIN);
    wait_until(f, dialed_often);
    assert_int_equal(devices(a, &d), 1);
    assert_int_equal(d.link, ATTACH_BROKEN);
    server_is(f, 0);
    wait_for_link(a, ATTACH_LIVE);
    a->ops->free(a);
}

static void a_new_export_name_revives_a_stale_device(void **state)
{
    struct fake *f;
    struct attach_driver *a = begin(&f);
    struct contract_disk disk = disk_v0();

    (void)state;
    assert_int_equal(a->ops->connect(a, &disk, NULL), 0);
    server_dies(f, -ESTALE);
    wait_for_link(a, ATTACH_STALE);
    server_is(f, 0);
    a->ops->refresh(a, &disk); /* the same: nothing */
    strcpy(disk.export_name, "v0.4567");
    a->ops->refresh(a, &disk);
    wait_for_link(a, ATTACH_LIVE);
    assert_string_equal(f->dialed_export, "v0.4567");
    a->ops->free(a);
}

static void a_disk_that_changed_its_size_is_stale(void **state)
{
    struct fake *f;
    struct attach_driver *a = begin(&f);
    struct contract_disk disk = disk_v0();
    struct attach_seen d;

    (void)state;
    assert_int_equal(a->ops->connect(a, &disk, NULL), 0);
    f->size = SIZE / 2;
    server_dies(f, 0);
    wait_for_link(a, ATTACH_STALE);
    assert_int_equal(devices(a, &d), 1);
    assert_non_null(strstr(d.why, "has 536870912 bytes now"));
    assert_int_equal(f->taken, 0);
    a->ops->free(a);
}

static void a_disconnected_device_leaves_when_nobody_holds_it(void **state)
{
    struct fake *f;
    struct attach_driver *a = begin(&f);
    struct contract_disk disk = disk_v0();
    struct attach_seen d;

    (void)state;
    assert_int_equal(a->ops->connect(a, &disk, NULL), 0);
    server_dies(f, -ECONNREFUSED);
    wait_for_link(a, ATTACH_BROKEN);
    f->held = true;
    assert_int_equal(a->ops->disconnect(a, 3, NULL), 0);
    assert_int_equal(devices(a, &d), 1);
    assert_int_equal(d.link, ATTACH_LEAVING);
    pthread_mutex_lock(&f->lock);
    f->held = f->connected = false;
    pthread_mutex_unlock(&f->lock);
    assert_int_equal(devices(a, &d), 0);
    assert_int_equal(a->ops->disconnect(a, 3, NULL), 0); /* idempotent */
    server_is(f, 0);
    assert_int_equal(a->ops->connect(a, &disk, NULL), 0); /* the index is free again */
    assert_int_equal(devices(a, &d), 1);
    assert_int_equal(d.link, ATTACH_LIVE);
    a->ops->free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_volume_becomes_a_live_device),
        cmocka_unit_test(a_disk_of_another_size_is_not_attached),
        cmocka_unit_test(a_failed_connect_leaves_nothing),
        cmocka_unit_test(a_server_that_restarts_is_found_again),
        cmocka_unit_test(a_found_device_is_connected_anew),
        cmocka_unit_test(another_life_of_the_volume_is_not_kept),
        cmocka_unit_test(a_socket_that_the_kernel_dropped_is_offered_again),
        cmocka_unit_test(a_refusal_is_believed_the_third_time),
        cmocka_unit_test(a_server_that_is_not_ready_is_not_believed_to_refuse),
        cmocka_unit_test(a_new_export_name_revives_a_stale_device),
        cmocka_unit_test(a_disk_that_changed_its_size_is_stale),
        cmocka_unit_test(a_disconnected_device_leaves_when_nobody_holds_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
