/* SPDX-License-Identifier: Apache-2.0 */
#include "server/catalog/hosts.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "server/catalog/catalog.h"
#include "tests/unit/unit.h"

#define MAC1 "52:54:00:00:00:01"
#define MAC2 "52:54:00:00:00:02"
#define MAC3 "52:54:00:00:00:03"
#define UUID "3c7b52e4-9d2a-4f25-a1f3-5a4a8f3b6c01"

static char path[64];
static struct catalog *cat;

static int open_catalog(void **state)
{
    (void)state;
    const char *tmp = getenv("TMPDIR");
    snprintf(path, sizeof path, "%.40s/hosts.XXXXXX", tmp ? tmp : "/tmp");
    int fd = mkstemp(path);
    if (fd < 0)
        return -1;
    close(fd);
    return cat_open(path, &cat, NULL);
}

static int close_catalog(void **state)
{
    (void)state;
    cat_close(cat);
    return unlink(path);
}

static struct cat_host add(const char *name, bool approved, const char *mac)
{
    struct cat_host h = { .approved = approved, .mac_count = 1 };

    snprintf(h.name, sizeof h.name, "%s", name);
    snprintf(h.macs[0], sizeof h.macs[0], "%s", mac);
    assert_int_equal(cat_host_add(cat, &h, NULL), 0);
    assert_int_not_equal(h.id, 0);
    return h;
}

static void fill(uint8_t *hash, int byte)
{
    memset(hash, byte, CAT_HASH_BYTES);
}

static void a_host_is_found_by_name_mac_and_number(void **state)
{
    (void)state;
    struct cat_host h = add("pc1", true, MAC1), got;
    struct err e = { 0 };

    assert_int_equal(cat_host_get(cat, "pc1", &got, NULL), 0);
    assert_int_equal(got.id, h.id);
    assert_true(got.approved);
    assert_int_equal(got.mac_count, 1);
    assert_string_equal(got.macs[0], MAC1);
    assert_int_equal(cat_host_by_mac(cat, MAC1, &got, NULL), 0);
    assert_int_equal(got.id, h.id);
    assert_int_equal(cat_host_by_id(cat, h.id, &got, NULL), 0);
    assert_int_equal(cat_host_get(cat, "pc2", &got, &e), -ENOENT);
    assert_string_equal(e.msg, "there is no host 'pc2'");
    assert_int_equal(cat_host_by_mac(cat, MAC2, &got, NULL), -ENOENT);
}

static void a_name_or_a_mac_is_taken_once(void **state)
{
    (void)state;
    add("pc1", true, MAC1);
    struct cat_host same_name = { .name = "pc1", .macs = { MAC2 }, .mac_count = 1 };
    struct cat_host same_mac = { .name = "pc2", .macs = { MAC1 }, .mac_count = 1 }, got;

    assert_int_equal(cat_host_add(cat, &same_name, NULL), -EEXIST);
    assert_int_equal(cat_host_add(cat, &same_mac, NULL), -EEXIST);
    assert_int_equal(cat_host_get(cat, "pc2", &got, NULL), -ENOENT); /* nothing is half there */
}

static void a_registration_brings_facts_and_a_session(void **state)
{
    (void)state;
    struct cat_host h = add("pc1", false, MAC1), got;
    uint8_t hash[CAT_HASH_BYTES], other[CAT_HASH_BYTES];
    fill(hash, 0x11);
    fill(other, 0x12);

    snprintf(h.macs[1], sizeof h.macs[1], "%s", MAC2);
    h.mac_count = 2;
    snprintf(h.uuid, sizeof h.uuid, "%s", UUID);
    snprintf(h.cpu, sizeof h.cpu, "CPU");
    snprintf(h.address, sizeof h.address, "10.77.0.5");
    h.cpus = 4;
    h.memory_mib = 8192;
    h.hvm = true;
    assert_int_equal(cat_host_register(cat, &h, hash, NULL), 0);

    assert_int_equal(cat_host_by_session(cat, hash, &got, NULL), 0);
    assert_int_equal(got.id, h.id);
    assert_int_equal(got.mac_count, 2);
    assert_string_equal(got.macs[1], MAC2);
    assert_string_equal(got.uuid, UUID);
    assert_string_equal(got.address, "10.77.0.5");
    assert_int_equal(got.cpus, 4);
    assert_int_equal(got.memory_mib, 8192);
    assert_true(got.hvm);
    assert_true(got.registered_at > 0);
    assert_false(got.session_used);
    assert_int_equal(cat_host_by_uuid(cat, UUID, &got, NULL), 0);
    assert_int_equal(cat_host_register(cat, &h, other, NULL), 0);
    assert_int_equal(cat_host_by_session(cat, hash, &got, NULL), -ENOENT); /* the one before */
}

static void a_uuid_that_two_have_finds_nobody(void **state)
{
    (void)state;
    uint8_t hash[CAT_HASH_BYTES];
    struct cat_host h[2] = { add("pc1", false, MAC1), add("pc2", false, MAC2) }, got;

    for (int i = 0; i < 2; i++) {
        fill(hash, i);
        snprintf(h[i].uuid, sizeof h[i].uuid, "%s", UUID);
        assert_int_equal(cat_host_register(cat, &h[i], hash, NULL), 0);
    }
    assert_int_equal(cat_host_by_uuid(cat, UUID, &got, NULL), -ENOENT);
    assert_int_equal(cat_host_by_uuid(cat, "", &got, NULL), -ENOENT);
}

static void a_card_that_another_host_has_stays_there(void **state)
{
    (void)state;
    uint8_t hash[CAT_HASH_BYTES];
    struct cat_host h = add("pc1", false, MAC1), got;
    add("pc2", false, MAC2);
    fill(hash, 1);

    snprintf(h.macs[1], sizeof h.macs[1], "%s", MAC2);
    h.mac_count = 2;
    assert_int_equal(cat_host_register(cat, &h, hash, NULL), 0);
    assert_int_equal(cat_host_by_mac(cat, MAC2, &got, NULL), 0);
    assert_string_equal(got.name, "pc2");
    assert_int_equal(cat_host_get(cat, "pc1", &got, NULL), 0);
    assert_int_equal(got.mac_count, 1);
}

static void strangers_cannot_fill_the_list(void **state)
{
    (void)state;
    struct cat_host h = { .mac_count = 1 };
    struct err e = { 0 };
    int rc = 0, added = 0;

    assert_int_equal(cat_begin(cat, NULL), 0);
    for (int i = 0; rc == 0 && i <= CAT_HOSTS_WAITING; i++) {
        snprintf(h.name, sizeof h.name, "w%d", i);
        snprintf(h.macs[0], sizeof h.macs[0], "52:54:00:00:%02x:%02x", i / 256, i % 256);
        rc = cat_host_add(cat, &h, &e);
        added += rc == 0;
    }
    assert_int_equal(rc, -EDQUOT);
    assert_int_equal(added, CAT_HOSTS_WAITING);
    cat_rollback(cat);
}

static void a_change_raises_the_revision(void **state)
{
    (void)state;
    struct cat_host h = add("pc1", true, MAC1), before, after;

    assert_int_equal(cat_host_by_id(cat, h.id, &before, NULL), 0);
    assert_int_equal(cat_host_raise(cat, h.id, NULL), 0);
    assert_int_equal(cat_host_by_id(cat, h.id, &after, NULL), 0);
    assert_int_equal(after.revision, before.revision + 1);
}

/* ---- boot tokens ------------------------------------------------------------------------------
 */

static const struct cat_boot_clock noon = { .boot_id = "a", .now_s = 100000 };

static void a_boot_token_is_found_while_it_lives(void **state)
{
    (void)state;
    uint8_t hash[CAT_HASH_BYTES];
    struct cat_boot_token t;
    struct cat_boot_clock late = noon, over = noon, rebooted = noon;
    fill(hash, 7);
    late.now_s += CAT_TOKEN_SECONDS - 1;
    over.now_s += CAT_TOKEN_SECONDS;
    rebooted.boot_id = "b";

    assert_int_equal(cat_boot_token_put(cat, MAC1, "10.77.0.5", hash, &noon, NULL), 0);
    assert_int_equal(cat_boot_token_find(cat, hash, &late, &t, NULL), 0);
    assert_string_equal(t.mac, MAC1);
    assert_string_equal(t.address, "10.77.0.5");
    assert_int_equal(t.host_id, 0);
    assert_int_equal(cat_boot_token_find(cat, hash, &over, &t, NULL), -ENOENT);
    assert_int_equal(cat_boot_token_find(cat, hash, &rebooted, &t, NULL), -ENOENT);
}

static void a_new_boot_token_voids_the_old_one_of_its_mac(void **state)
{
    (void)state;
    uint8_t first[CAT_HASH_BYTES], second[CAT_HASH_BYTES], other[CAT_HASH_BYTES];
    struct cat_boot_token t;
    fill(first, 1);
    fill(second, 2);
    fill(other, 3);

    assert_int_equal(cat_boot_token_put(cat, MAC1, "10.77.0.5", first, &noon, NULL), 0);
    assert_int_equal(cat_boot_token_put(cat, MAC3, "10.77.0.6", other, &noon, NULL), 0);
    assert_int_equal(cat_boot_token_put(cat, MAC1, "10.77.0.5", second, &noon, NULL), 0);
    assert_int_equal(cat_boot_token_find(cat, first, &noon, &t, NULL), -ENOENT);
    assert_int_equal(cat_boot_token_find(cat, second, &noon, &t, NULL), 0);
    assert_int_equal(cat_boot_token_find(cat, other, &noon, &t, NULL), 0);
}

static void a_boot_token_ends_when_its_session_is_used(void **state)
{
    (void)state;
    uint8_t hash[CAT_HASH_BYTES];
    struct cat_host h = add("pc1", true, MAC1), got;
    struct cat_boot_token t;
    fill(hash, 9);

    assert_int_equal(cat_boot_token_put(cat, MAC1, "10.77.0.5", hash, &noon, NULL), 0);
    assert_int_equal(cat_boot_token_bind(cat, MAC1, h.id, NULL), 0);
    assert_int_equal(cat_boot_token_find(cat, hash, &noon, &t, NULL), 0);
    assert_int_equal(t.host_id, h.id);
    assert_int_equal(cat_host_use_session(cat, h.id, NULL), 0);
    assert_int_equal(cat_boot_token_find(cat, hash, &noon, &t, NULL), -ENOENT);
    assert_int_equal(cat_host_by_id(cat, h.id, &got, NULL), 0);
    assert_true(got.session_used);
}

static void boot_tokens_have_a_limit_and_make_room_when_they_are_old(void **state)
{
    (void)state;
    uint8_t hash[CAT_HASH_BYTES] = { 0 };
    struct cat_boot_clock later = noon;
    char mac[CAT_MAC_SIZE];
    int rc = 0, i;

    assert_int_equal(cat_begin(cat, NULL), 0);
    for (i = 0; i <= CAT_TOKENS_MOST && rc == 0; i++) {
        snprintf(mac, sizeof mac, "52:54:01:00:%02x:%02x", i / 256, i % 256);
        memcpy(hash, &i, sizeof i);
        rc = cat_boot_token_put(cat, mac, "10.77.0.5", hash, &noon, NULL);
    }
    assert_int_equal(rc, -EDQUOT);
    assert_int_equal(i, CAT_TOKENS_MOST + 1);
    cat_rollback(cat);

    assert_int_equal(cat_boot_token_put(cat, MAC1, "10.77.0.5", hash, &noon, NULL), 0);
    later.now_s += CAT_TOKEN_SECONDS;
    hash[0] ^= 1;
    assert_int_equal(cat_boot_token_put(cat, MAC2, "10.77.0.6", hash, &later, NULL), 0);
}

int main(void)
{
#define EACH(test) cmocka_unit_test_setup_teardown(test, open_catalog, close_catalog)
    const struct CMUnitTest tests[] = {
        EACH(a_host_is_found_by_name_mac_and_number),
        EACH(a_name_or_a_mac_is_taken_once),
        EACH(a_registration_brings_facts_and_a_session),
        EACH(a_uuid_that_two_have_finds_nobody),
        EACH(a_card_that_another_host_has_stays_there),
        EACH(strangers_cannot_fill_the_list),
        EACH(a_change_raises_the_revision),
        EACH(a_boot_token_is_found_while_it_lives),
        EACH(a_new_boot_token_voids_the_old_one_of_its_mac),
        EACH(a_boot_token_ends_when_its_session_is_used),
        EACH(boot_tokens_have_a_limit_and_make_room_when_they_are_old),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
