/* SPDX-License-Identifier: Apache-2.0 */
/* Small files: read whole within a limit, replaced whole or not at all. */
#include "tests/unit/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "server/base/auto.h"
#include "server/base/file.h"

#define PATH_SIZE 512

/* The state of each test is a directory of its own. */
static int make_dir(void **state)
{
    const char *base = getenv("TMPDIR");
    char *dir = NULL;

    if (asprintf(&dir, "%s/file.XXXXXX", base ? base : "/tmp") < 0 || !mkdtemp(dir))
        return -1;
    *state = dir;
    return 0;
}

static int remove_dir(void **state)
{
    AUTO(auto_free) char *dir = *state;
    static const char *const names[] = { "f", "f.new" };

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char path[PATH_SIZE];
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
        rmdir(path);
    }
    return rmdir(dir);
}

static const char *in(void **state, const char *name, char ret_path[static PATH_SIZE])
{
    snprintf(ret_path, PATH_SIZE, "%s/%s", (const char *)*state, name);
    return ret_path;
}

static void what_was_replaced_is_read(void **state)
{
    char path[PATH_SIZE];
    AUTO(auto_free) char *data = NULL;
    size_t length = 0;
    struct err e = { 0 };

    assert_int_equal(file_replace(in(state, "f", path), "a\0b", 3, 0600, &e), 0);
    assert_int_equal(file_read(path, 3, &data, &length, &e), 0);
    assert_int_equal(length, 3);
    assert_memory_equal(data, "a\0b\0", 4);
}

static void a_file_over_the_limit_is_refused(void **state)
{
    char path[PATH_SIZE];
    char *data = NULL;
    struct err e = { 0 };

    file_replace(in(state, "f", path), "1234", 4, 0600, NULL);
    assert_int_equal(file_read(path, 3, &data, NULL, &e), -EFBIG);
    assert_null(data);
    assert_non_null(strstr(e.msg, "larger than 3 bytes"));
}

static void an_empty_file_is_an_empty_string(void **state)
{
    char path[PATH_SIZE];
    AUTO(auto_free) char *data = NULL;
    size_t length = 7;

    file_replace(in(state, "f", path), "", 0, 0600, NULL);
    assert_int_equal(file_read(path, 10, &data, &length, NULL), 0);
    assert_int_equal(length, 0);
    assert_string_equal(data, "");
}

static void a_missing_file_is_named(void **state)
{
    char path[PATH_SIZE];
    char *data = NULL;
    struct err e = { 0 };

    assert_int_equal(file_read(in(state, "none", path), 10, &data, NULL, &e), -ENOENT);
    assert_non_null(strstr(e.msg, path));
}

static void replace_sets_the_mode_whatever_was_there(void **state)
{
    char path[PATH_SIZE];
    struct stat st;
    mode_t before = umask(077);

    file_replace(in(state, "f", path), "old", 3, 0644, NULL);
    umask(before);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0644);
    file_replace(path, "new", 3, 0600, NULL);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
}

/* The place of the new file is taken by a directory, so it cannot be written. */
static void a_failed_replace_leaves_the_old_file(void **state)
{
    char path[PATH_SIZE], fresh[PATH_SIZE];
    AUTO(auto_free) char *data = NULL;
    struct err e = { 0 };

    file_replace(in(state, "f", path), "old", 3, 0600, NULL);
    assert_int_equal(mkdir(in(state, "f.new", fresh), 0700), 0);
    assert_true(file_replace(path, "new", 3, 0600, &e) < 0);
    assert_int_not_equal(e.code, 0);
    assert_int_equal(file_read(path, 10, &data, NULL, NULL), 0);
    assert_string_equal(data, "old");
}

static void a_path_too_long_is_refused(void **state)
{
    char path[4200]; /* over PATH_MAX */
    struct err e = { 0 };

    (void)state;
    memset(path, 'a', sizeof path);
    path[sizeof path - 1] = '\0';
    assert_int_equal(file_replace(path, "x", 1, 0600, &e), -ENAMETOOLONG);
}

static void write_all_reports_a_closed_pipe(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(file_write_all(ends[1], "abc", 3), 0);
    char back[3];
    assert_int_equal(read(ends[0], back, 3), 3);
    assert_memory_equal(back, "abc", 3);
    assert_int_equal(file_write_all(ends[0], "abc", 3), -EBADF);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_was_replaced_is_read, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_file_over_the_limit_is_refused, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(an_empty_file_is_an_empty_string, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(a_missing_file_is_named, make_dir, remove_dir),
        cmocka_unit_test_setup_teardown(replace_sets_the_mode_whatever_was_there, make_dir,
                                        remove_dir),
        cmocka_unit_test_setup_teardown(a_failed_replace_leaves_the_old_file, make_dir, remove_dir),
        cmocka_unit_test(a_path_too_long_is_refused),
        cmocka_unit_test(write_all_reports_a_closed_pipe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
