# SPDX-License-Identifier: Apache-2.0
# Gridbox.  `make` builds, `make demo` shows, `make check` proves; `make help` lists the rest.
# Sources, tests and fuzz targets are found by wildcard: adding a file edits no list.

SHELL := /bin/bash
# V=1 shows the commands.
V ?=
Q := $(if $(V),,@)
say = @$(if $(V),true,printf '%-5s %s\n' $(1) '$(2)')
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all
MAKEFLAGS += --no-builtin-rules
.SECONDARY:
.SECONDEXPANSION:
jobs := -j$(shell nproc)

FLAVOUR ?=
B := build$(if $(FLAVOUR),/$(FLAVOUR))
CC := gcc

# ---- what is to be built ------------------------------------------------------------------------
# main() lies in the main.c of its program's folder; everything else goes into two archives, which
# the unit tests link as well.
server_src := $(filter-out %/main.c,$(wildcard server/*/*.c server/*/*/*.c))
host_src := $(filter-out %/main.c hostside/domain_libxl%.c,$(wildcard hostside/*.c))
xen_src := $(wildcard hostside/domain_libxl*.c)
unit_src := $(wildcard tests/unit/*/*_test.c)
crash_src := $(wildcard tests/crash/*_test.c)
fuzz_src := $(wildcard tests/fuzz/*_fuzz.c)
headers := $(wildcard server/*/*.h server/*/*/*.h hostside/*.h tests/unit/*.h tests/unit/*/*.h \
	tests/crash/*.h tests/crash/load/*.h)

obj = $(patsubst %.c,$(B)/obj/%.o,$(1))
unit_bin := $(patsubst tests/unit/%_test.c,$(B)/unit/%_test,$(unit_src))
crash_bin := $(patsubst tests/%.c,$(B)/%,$(crash_src))
fuzz_bin := $(patsubst tests/fuzz/%_fuzz.c,build/fuzz/%_fuzz,$(fuzz_src))
programs := $(B)/gridboxd $(B)/gridbox $(if $(xen_src),$(B)/gridbox-host)

# ---- flags --------------------------------------------------------------------------------------
warnings := -Wall -Wextra -Wformat=2 -Wshadow -Wvla -Wconversion -Wstrict-prototypes \
	-Wmissing-prototypes -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings \
	-Wundef -Wimplicit-fallthrough -Wswitch-enum -Wnull-dereference -Wframe-larger-than=8192
gcc_warnings := -Wlogical-op -Wduplicated-cond -Wduplicated-branches -Walloc-zero -Wtrampolines
hardening := -fstack-protector-strong -fstack-clash-protection -fcf-protection=full \
	-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=3 -ftrivial-auto-var-init=zero
WERROR ?=
version := $(shell cat server/VERSION)
base_cflags := -std=gnu17 -D_GNU_SOURCE -I. -DGRIDBOX_VERSION='"$(version)"' -O2 -g -fno-common \
	-fPIE -fno-omit-frame-pointer $(warnings) $(gcc_warnings) $(WERROR)
ldflags := -pie -Wl,-z,relro,-z,now,-z,noexecstack -pthread

flavour_ := $(hardening)
flavour_asan := -fsanitize=address,undefined -fno-sanitize-recover=all -O1 -Wno-null-dereference \
	-Wno-duplicated-branches -Wno-frame-larger-than
flavour_tsan := -fsanitize=thread -O1 -Wno-tsan
flavour_cover := --coverage -O0
CFLAGS_ALL = $(base_cflags) $(flavour_$(FLAVOUR)) $(DEPS_CFLAGS) $(CFLAGS)
LDFLAGS_ALL = $(flavour_$(FLAVOUR)) $(ldflags) $(LDFLAGS)

# ---- what the machine has -----------------------------------------------------------------------
# Targets that build nothing must work before the packages are there.
no_probe := help deps demo check check-all clean format
ifneq ($(filter-out $(no_probe),$(or $(MAKECMDGOALS),all)),)
include build/config.mk
endif

build/config.mk: scripts/configure
	@mkdir -p build
	@scripts/configure > $@.new && mv $@.new $@

# ---- programs -----------------------------------------------------------------------------------
.PHONY: all
all: $(programs)

server_a := $(B)/libserver.a
host_a := $(B)/libhostside.a
# The agent knows server/base and server/contract alone; the command line likewise.
shared_src := $(wildcard server/base/*.c server/contract/*.c)

$(B)/gridboxd: $(call obj,server/main/main.c) $(server_a)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(SERVER_LIBS)

$(B)/gridbox: $(call obj,$(sort $(wildcard server/cli/*.c) $(shared_src)))
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(CLI_LIBS)

$(B)/gridbox-host: $(call obj,$(sort $(wildcard hostside/*.c) $(shared_src)))
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ $(HOST_LIBS)

$(server_a): $(call obj,$(server_src))
	@rm -f $@; ar rcs $@ $^
$(host_a): $(call obj,$(host_src))
	@rm -f $@; ar rcs $@ $^

$(B)/obj/%.o: %.c | build/config.mk
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

-include $(shell find $(B)/obj -name '*.d' 2>/dev/null)

# ---- boot files and golden images ---------------------------------------------------------------
.PHONY: boot-files
boot-files: all
	nice initramfs/boot-files

build/images/%.raw: images/%/build $$(shell find images/$$* images/recipe.sh -type f)
	@mkdir -p $(@D)
	nice images/$*/build $@

# ---- tests --------------------------------------------------------------------------------------
# What the tests of one folder share (fakes) lies beside them, in files that do not end in _test.c.
unit_help = $(call obj,$(filter-out %_test.c,$(wildcard tests/unit/$(1)*.c)))
$(B)/unit/%_test: $(B)/obj/tests/unit/%_test.o $$(call unit_help,$$(dir $$*)) $(server_a) $(host_a)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) -Wl,--start-group $(server_a) $(host_a) -Wl,--end-group \
		$(SERVER_LIBS) $(UNIT_LIBS) -lcmocka

# Crashes of a whole server in one process: the store's fakes, and what lies beside them.
$(B)/crash/%_test: $(B)/obj/tests/crash/%_test.o \
		$(call obj,$(filter-out %_test.c,$(wildcard tests/crash/*.c tests/unit/store/*.c))) \
		$(server_a) $(host_a)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $(filter %.o,$^) -Wl,--start-group $(server_a) $(host_a) -Wl,--end-group \
		$(SERVER_LIBS) $(UNIT_LIBS) -lcmocka

# A client that verifies what it wrote, whatever becomes of the server.
$(B)/nbd_load: $(call obj,$(wildcard tests/crash/load/*.c server/base/*.c))
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^ -lcap

.PHONY: crash-bins crash
# CUTS=N crashes; SEED=N begins with that round.
crash-bins: $(crash_bin) $(B)/nbd_load
crash: crash-bins
	tests/run crash $(crash_bin)

.PHONY: unit unit-bins
# T=room/name picks one test.
unit_pick := $(if $(T),$(B)/unit/$(T)_test,$(unit_bin))
unit-bins: $(unit_pick)
unit: unit-bins
	tests/run unit $(unit_pick)

build/fuzz/%_fuzz: tests/fuzz/%_fuzz.c $(server_src) $(host_src) $(headers)
	@mkdir -p $(@D)
	$(call say,FUZZ,$@)
	$(Q)clang-14 $(filter-out -Wlogical-op -Wduplicated-% -Walloc-zero -Wtrampolines,$(base_cflags)) \
		-Wno-everything -fsanitize=fuzzer,address,undefined $(DEPS_CFLAGS) -o $@ $< \
		$$(sed -n 's,^/\* *sources: *\(.*\) \*/$$,\1,p' $<) -ljansson -pthread

.PHONY: fuzz
# Each target for SECONDS (5), or the one that T names.
fuzz: $(if $(T),build/fuzz/$(T)_fuzz,$(fuzz_bin))
	tests/run fuzz $(or $(SECONDS_EACH),5) $^

# Other NBD servers beside ours, on this machine; BENCH='--quick' and the like (tests/bench/run).
# It installs nothing and fails nothing: what is missing is named (scripts/deps bench brings it).
.PHONY: bench
bench: all build/bench/replay
	tests/bench/run $(BENCH)
build/bench/replay: $(call obj,tests/bench/replay.c server/base/histogram.c)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CC) $(LDFLAGS_ALL) -o $@ $^

.PHONY: check-format check-layers check-headers check-scripts static
check-format:
	@clang-format-14 --dry-run -Werror $$(git ls-files '*.c' '*.h')
check-layers:
	@scripts/check-layers
# Every header compiles alone.
check-headers: build/config.mk
	@printf '%s\n' $(headers) | xargs -P2 -I{} $(CC) $(CFLAGS_ALL) -fsyntax-only -x c -include {} /dev/null
check-scripts:
	@shellcheck -x $$(git ls-files | xargs -r grep -lE '^#!.*\b(sh|bash)$$')
static: check-layers check-format check-headers check-scripts

.PHONY: quick check check-all check-inner check-all-inner
# Builds, reads and runs the unit tests under ASan and UBSan: at most a minute.
quick:
	@$(MAKE) $(jobs) WERROR=-Werror all
	@$(MAKE) static
	@$(MAKE) $(jobs) FLAVOUR=asan WERROR=-Werror unit

# Everything that lands is proved by this.  The packages come first, in a make of their own, so that
# nothing is probed before it is there.
check:
	@scripts/deps check
	@$(MAKE) check-inner
check-inner:
	@tests/run check

check-all:
	@scripts/deps check
	@$(MAKE) check-all-inner
check-all-inner:
	@tests/run check-all

# ---- for people ---------------------------------------------------------------------------------
.PHONY: deps demo demo-inner format lint install clean help
deps:
	@scripts/deps build

demo:
	@scripts/demo room
	@scripts/deps demo
	@scripts/demo

format:
	clang-format-14 -i $$(git ls-files '*.c' '*.h')

lint: build/config.mk
	clang-tidy-14 --quiet $(server_src) $(host_src) -- $(filter-out $(gcc_warnings),$(base_cflags)) $(DEPS_CFLAGS)

PREFIX ?= /usr/local
install: all
	install -D -m 755 $(B)/gridboxd $(DESTDIR)$(PREFIX)/sbin/gridboxd
	install -D -m 755 $(B)/gridbox $(DESTDIR)$(PREFIX)/bin/gridbox
	for page in server/man/*.[1-8] hostside/man/*.[1-8]; do \
		install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/}; done
	install -D -m 644 server/cli/completion.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/gridbox
	if [ -d build/boot ]; then for f in build/boot/*; do \
		install -D -m 644 $$f $(DESTDIR)$(PREFIX)/share/gridbox/boot/$${f##*/}; done; fi

clean:
	rm -rf build/obj build/asan build/tsan build/cover build/unit build/crash build/fuzz build/config.mk \
		build/gridboxd build/gridbox build/gridbox-host build/nbd_load build/*.a build/boot

help:
	@echo 'make             build gridboxd, gridbox and gridbox-host (installs nothing)'
	@echo 'make demo        from power-on of a bare (emulated) PC to a login prompt; needs root'
	@echo 'make check       every test; needs root.  make check-all: the slow ones as well'
	@echo 'make quick       build, static checks, unit tests under ASan and UBSan'
	@echo 'make unit T=nbd/session     one unit test;  make FLAVOUR=asan unit: with sanitizers'
	@echo 'make crash SEED=7 CUTS=10000    crashes of a server in one process'
	@echo 'make fuzz T=nbd_session SECONDS_EACH=600    one fuzz target'
	@echo 'make bench       other NBD servers beside ours: table and plot in build/bench; BENCH=--quick'
	@echo 'make boot-files  Xen, dom0 kernel and initramfs in build/boot'
	@echo 'make build/images/tiny.raw  a golden image by its recipe in images/'
	@echo 'make format | lint | install DESTDIR= PREFIX= | clean'
