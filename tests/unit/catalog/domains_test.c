/* SPDX-License-Identifier: Apache-2.0 */
#include "server/catalog/domains.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/catalog/catalog.h"
#include "server/catalog/images.h"
#include "server/catalog/volumes.h"
#include "tests/unit/unit.h"

static char path[64];
static struct catalog *cat;
static struct cat_host host[2];
static struct cat_image image;

static int add_host(int i)
{
    struct cat_host *h = &host[i];

    *h = (struct cat_host){ .approved = true, .mac_count = 1 };
    snprintf(h->name, sizeof h->name, "pc%d", i + 1);
    snprintf(h->macs[0], sizeof h->macs[0], "52:54:00:00:00:0%d", i + 1);
    return cat_host_add(cat, h, NULL);
}

static int open_catalog(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof path, "%.40s/domains.XXXXXX", tmp ? tmp : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    close(fd);

    image = (struct cat_image){ .name = "debian-12",
                                .layer = { 1 },
                                .size_bytes = 1 << 20,
                                .source = "test",
                                .format = "raw" };
    memset(image.sha256, 'a', 64);
    if (cat_open(path, &cat, NULL) < 0 || add_host(0) < 0 || add_host(1) < 0)
        return -1;
    return cat_image_add(cat, &image, NULL);
}

static int close_catalog(void **state)
{
    (void)state;
    cat_close(cat);
    return unlink(path);
}

/* number makes MAC and UUID. */
static int add(const char *name, int64_t host_id, int number, struct cat_domain *ret, struct err *e)
{
    struct cat_domain d = { .host_id = host_id, .memory_mib = 256, .vcpus = 2 };
    uint8_t top[CAT_LAYER_BYTES];

    random_bytes(top, sizeof top);
    snprintf(d.name, sizeof d.name, "%s", name);
    snprintf(d.mac, sizeof d.mac, "00:16:3e:00:00:%02x", number);
    snprintf(d.uuid, sizeof d.uuid, "00000000-0000-4000-8000-0000000000%02x", number);
    int rc = cat_begin(cat, e);
    if (rc == 0)
        rc = cat_volume_add(cat, name, &image, top, &d.volume_id, e);
    if (rc == 0)
        rc = cat_domain_add(cat, &d, e);
    rc = cat_end(cat, rc, e);
    if (rc == 0 && ret)
        *ret = d;
    return rc;
}

static void a_domain_is_stopped_at_first(void **state)
{
    (void)state;
    struct cat_domain d, got;

    assert_int_equal(add("web", host[0].id, 1, &d, NULL), 0);
    assert_int_equal(cat_domain_get(cat, "web", &got, NULL), 0);
    assert_int_equal(got.id, d.id);
    assert_string_equal(got.host, "pc1");
    assert_string_equal(got.volume, "web");
    assert_string_equal(got.image_name, "debian-12");
    assert_int_equal(got.image_version, 1);
    assert_int_equal(got.memory_mib, 256);
    assert_int_equal(got.vcpus, 2);
    assert_false(got.running);
    assert_int_equal(got.stop_seconds, 60);
    assert_string_equal(got.state, "stopped");
}

static void a_name_that_is_taken_leaves_nothing_behind(void **state)
{
    (void)state;
    struct cat_volume v;
    struct err e = { 0 };
    struct cat_domain d = { .name = "web", .host_id = host[0].id };

    assert_int_equal(add("web", host[0].id, 1, NULL, NULL), 0);
    assert_int_equal(add("web", host[0].id, 2, NULL, &e), -EEXIST); /* the volume says so */
    assert_int_equal(cat_domain_add(cat, &d, &e), -EEXIST);
    assert_string_equal(e.msg, "there is a domain 'web' already");
    assert_int_equal(add("web2", host[0].id, 1, NULL, &e), -EADDRINUSE); /* MAC and UUID */
    assert_int_equal(cat_volume_get(cat, "web2", &v, NULL), -ENOENT);
}

static int count_one(void *ctx, const struct cat_domain *d)
{
    (void)d;
    ++*(int *)ctx;
    return 0;
}

static void each_host_has_its_own(void **state)
{
    (void)state;
    int all = 0, first = 0, second = 0;

    assert_int_equal(add("a", host[0].id, 1, NULL, NULL), 0);
    assert_int_equal(add("b", host[1].id, 2, NULL, NULL), 0);
    assert_int_equal(add("c", host[1].id, 3, NULL, NULL), 0);
    assert_int_equal(cat_domain_list(cat, 0, count_one, &all, NULL), 0);
    assert_int_equal(cat_domain_list(cat, host[0].id, count_one, &first, NULL), 0);
    assert_int_equal(cat_domain_list(cat, host[1].id, count_one, &second, NULL), 0);
    assert_int_equal(all, 3);
    assert_int_equal(first, 1);
    assert_int_equal(second, 2);
}

static void starting_keeps_the_revision_at_which_it_was_wanted(void **state)
{
    (void)state;
    struct cat_domain d, got;
    struct cat_host h;

    assert_int_equal(add("web", host[0].id, 1, &d, NULL), 0);
    assert_int_equal(cat_host_raise(cat, host[0].id, NULL), 0);
    d.running = true;
    d.stop_seconds = 5;
    assert_int_equal(cat_domain_set_running(cat, &d, NULL), 0);
    assert_int_equal(cat_host_raise(cat, host[0].id, NULL), 0);
    assert_int_equal(cat_host_by_id(cat, host[0].id, &h, NULL), 0);
    assert_int_equal(cat_domain_get(cat, "web", &got, NULL), 0);
    assert_true(got.running);
    assert_int_equal(got.stop_seconds, 5);
    assert_int_equal(got.desired_revision, h.revision - 1);
}

static void what_the_agent_says_is_kept(void **state)
{
    (void)state;
    struct cat_domain d, got;

    assert_int_equal(add("web", host[0].id, 1, &d, NULL), 0);
    snprintf(d.state, sizeof d.state, "running");
    snprintf(d.detail, sizeof d.detail, "since noon");
    d.domid = 17;
    assert_int_equal(cat_domain_set_state(cat, &d, NULL), 0);
    assert_int_equal(cat_domain_get(cat, "web", &got, NULL), 0);
    assert_string_equal(got.state, "running");
    assert_string_equal(got.detail, "since noon");
    assert_int_equal(got.domid, 17);
}

static void a_host_with_domains_stays(void **state)
{
    (void)state;
    struct cat_domain d;

    assert_int_equal(add("web", host[0].id, 1, &d, NULL), 0);
    assert_int_equal(cat_host_remove(cat, host[0].id, NULL), -EBUSY);
    assert_int_equal(cat_domain_remove(cat, d.id, NULL), 0);
    assert_int_equal(cat_host_remove(cat, host[0].id, NULL), 0);
}

static void a_domains_volume_stays(void **state)
{
    (void)state;
    struct cat_volume v;

    assert_int_equal(add("web", host[0].id, 1, NULL, NULL), 0);
    assert_int_equal(cat_volume_get(cat, "web", &v, NULL), 0);
    assert_string_equal(v.domain, "web");
    assert_int_equal(cat_volume_remove(cat, &v, NULL), -EBUSY);
}

static void a_host_has_so_many_and_no_more(void **state)
{
    (void)state;
    char name[16];

    for (unsigned i = 0; i < CAT_DOMAINS_OF_A_HOST; i++) {
        snprintf(name, sizeof name, "d%u", i);
        assert_int_equal(add(name, host[0].id, (int)i, NULL, NULL), 0);
    }
    assert_int_equal(add("more", host[0].id, 200, NULL, NULL), -EDQUOT);
    assert_int_equal(add("more", host[1].id, 200, NULL, NULL), 0);
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, open_catalog, close_catalog)
    const struct CMUnitTest tests[] = {
        EACH(a_domain_is_stopped_at_first),
        EACH(a_name_that_is_taken_leaves_nothing_behind),
        EACH(each_host_has_its_own),
        EACH(starting_keeps_the_revision_at_which_it_was_wanted),
        EACH(what_the_agent_says_is_kept),
        EACH(a_host_with_domains_stays),
        EACH(a_domains_volume_stays),
        EACH(a_host_has_so_many_and_no_more),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
