#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# tests/conformance/nbd-tls.sh - TLS by other people's clients, with certificates and with pre-shared keys; what is refused
# limit: 120
# shellcheck source=tests/lib/functions.sh
. "$(dirname "$0")/../lib/functions.sh"
needs nbdcopy nbdinfo qemu-io qemu-img openssl python3

# ---- keys ---------------------------------------------------------------------------------------
pki=$tap_tmp/pki
mkdir "$pki" "$pki/no-client"
new_ca() # NAME
{
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
        -keyout "$pki/$1-key.pem" -out "$pki/$1-cert.pem"
}
new_certificate() # NAME CA
{
    printf 'subjectAltName=IP:%s\n' "$address" >"$pki/names"
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$1" -keyout "$pki/$1-key.pem" -out "$pki/$1.csr" &&
        openssl x509 -req -in "$pki/$1.csr" -CA "$pki/$2-cert.pem" -CAkey "$pki/$2-key.pem" -CAcreateserial -days 2 \
            -extfile "$pki/names" -out "$pki/$1-cert.pem"
}
{
    new_ca ca && new_ca stranger && new_certificate server ca && new_certificate client ca &&
        cp "$pki/ca-cert.pem" "$pki/no-client" && mkdir "$pki/wrong" "$pki/stranger" &&
        cp "$pki/stranger-cert.pem" "$pki/wrong/ca-cert.pem" && new_certificate guest stranger &&
        cp "$pki/ca-cert.pem" "$pki/stranger" && cp "$pki/guest-cert.pem" "$pki/stranger/client-cert.pem" &&
        cp "$pki/guest-key.pem" "$pki/stranger/client-key.pem"
} >"$tap_tmp/openssl.log" 2>&1
ok $? "certificates" || sed 's/^/# /' "$tap_tmp/openssl.log"
printf 'alice:00112233445566778899aabbccddeeff\n' >"$tap_tmp/psk"
printf 'alice:ffeeddccbbaa99887766554433221100\n' >"$tap_tmp/wrong-psk"
chmod 0644 "$pki"/*.pem "$tap_tmp/psk"

tls() # MODE [OPTION...]
{
    mode=$1
    shift
    start_server --nbd-tls "$mode" "$@"
}
certificate="--nbd-tls-cert $pki/server-cert.pem --nbd-tls-key $pki/server-key.pem"
copy_out() { timeout 60 nbdcopy "$1" "$tap_tmp/copy" 2>"$tap_tmp/copy.err" && cmp -s "$tap_tmp/copy" "$2"; }

# ---- required -----------------------------------------------------------------------------------
make_image "$tap_tmp/image" 16
# shellcheck disable=SC2086 # two options
tls require $certificate --nbd-tls-psk "$tap_tmp/psk"
import_image image "$tap_tmp/image"
uri=$(new_volume v image)
like "$uri" '^nbds://' "the URI says that TLS is wanted"
where=${uri#nbds://}
plain=nbd://$where
by_certificate="nbds://$where?tls-certificates=$pki"
by_psk="nbds://alice@$where?tls-psk-file=$tap_tmp/psk"

copy_out "$by_certificate" "$tap_tmp/image"
ok $? "with certificates all of it is read"
copy_out "$by_psk" "$tap_tmp/image"
ok $? "and with a pre-shared key"
run qemu-img info "$plain"
unlike "$status" '^0$' "without TLS nothing is told"
like "$err" 'TLS' "but why"
run nbdinfo "nbds://$where?tls-certificates=$pki/wrong"
unlike "$status" '^0$' "a client that trusts another authority goes"
run nbdinfo "nbds://alice@$where?tls-psk-file=$tap_tmp/wrong-psk"
unlike "$status" '^0$' "a wrong key opens nothing"
run nbdinfo "nbds://mallory@$where?tls-psk-file=$tap_tmp/psk"
unlike "$status" '^0$' "nor does an unknown user"

make_image "$tap_tmp/new" 16 7
timeout 60 nbdcopy --flush "$tap_tmp/new" "$by_psk" 2>"$tap_tmp/copy.err"
ok $? "all of it is written"
copy_out "$by_certificate" "$tap_tmp/new"
ok $? "and read again, over another kind of TLS"
run qemu-io -c 'write -P 0x33 512 1536' -c 'write -z 1M 1M' -c 'discard 2M 1M' -c flush -c 'read -P 0x33 512 1536' \
    -c 'read -P 0 1M 2M' --object "tls-creds-x509,id=t,endpoint=client,dir=$pki" \
    --image-opts "driver=raw,file.driver=nbd,file.host=${nbd%:*},file.port=${nbd##*:},file.export=${where#*/},file.tls-creds=t"
status_is 0 "qemu's client writes, zeroes, trims, reads"
unlike "$out" 'failed|error' "what it reads is what it wrote"

# ---- rude ---------------------------------------------------------------------------------------
cat >"$tap_tmp/rude.py" <<'PY'
import os, socket, struct, sys

what, host, port, export = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
s = socket.create_connection((host, port), timeout=15)

def get(n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            sys.exit("ended after %d of %d bytes" % (len(data), n))
        data += more
    return data

def option(number, data=b""):
    return struct.pack(">QII", 0x49484156454f5054, number, len(data)) + data

def reply():
    magic, number, kind, length = struct.unpack(">QIII", get(20))
    get(length)
    return number, kind

def rest():
    data = b""
    try:
        while True:
            more = s.recv(65536)
            if not more:
                return data
            data += more
    except ConnectionResetError:
        return data

get(18)
go = option(7, struct.pack(">I", len(export)) + export.encode() + struct.pack(">H", 0))
if what == "injection":  # a command behind STARTTLS, in one packet: it must not be heard
    s.sendall(struct.pack(">I", 3) + option(5) + go)
    assert reply() == (5, 1)
    answer = rest()
    assert len(answer) < 100 and b"\x00\x03\xe8\x89\x04\x55\x65\xa9" not in answer, answer
elif what == "garbage":
    s.sendall(struct.pack(">I", 3) + option(5))
    assert reply() == (5, 1)
    s.sendall(os.urandom(100000))
    rest()
elif what == "hang-up":  # there is no way to refuse EXPORT_NAME but this
    s.sendall(struct.pack(">I", 3) + option(1, export.encode()))
    assert rest() == b""
elif what == "required":
    s.sendall(struct.pack(">I", 3) + go)
    assert reply() == (7, 0x80000005)
    s.sendall(option(3))
    assert reply() == (3, 0x80000005)
    s.sendall(option(99))
    assert reply() == (99, 0x80000005)
    s.sendall(option(5, b"x"))
    assert reply() == (5, 0x80000003)
    s.sendall(option(2))
    assert reply() == (2, 1)
elif what == "off":
    s.sendall(struct.pack(">I", 3) + option(5))
    assert reply() == (5, 0x80000001)
PY
rude() # NAME WHAT
{
    run timeout 30 python3 "$tap_tmp/rude.py" "$1" "${nbd%:*}" "${nbd##*:}" "${where#*/}"
    status_is 0 "$2"
}
rude required "without TLS every option but ABORT is answered with TLS_REQD"
rude hang-up "EXPORT_NAME is hung up on"
rude injection "a command that came in plain behind STARTTLS is not heard"
rude garbage "garbage in the place of TLS ends the connection"
copy_out "$by_psk" "$tap_tmp/new" || :
run nbdinfo --size "$by_psk"
status_is 0 "and nobody else has noticed"
stop_server

# ---- clients with certificates of their own -------------------------------------------------------
# shellcheck disable=SC2086
tls require $certificate --nbd-tls-ca "$pki/ca-cert.pem"
run nbdinfo --size "$by_certificate"
status_is 0 "a client with a certificate of the authority comes in"
run nbdinfo --size "nbds://$where?tls-certificates=$pki/no-client"
unlike "$status" '^0$' "one without does not"
run nbdinfo --size "nbds://$where?tls-certificates=$pki/stranger"
unlike "$status" '^0$' "nor one with somebody else's"
stop_server

# ---- allowed, off ---------------------------------------------------------------------------------
tls allow --nbd-tls-psk "$tap_tmp/psk"
run nbdinfo --size "$by_psk"
status_is 0 "allowed: with TLS"
run nbdinfo --size "$plain"
status_is 0 "and without"
stop_server
start_server
rude off "off: STARTTLS is refused"
run nbdinfo --size "$plain"
status_is 0 "and all goes without"

# ---- wrong use ------------------------------------------------------------------------------------
run gridboxd --state "$tap_tmp/other" --nbd-tls require
status_is 2 "TLS without keys is refused"
like "$err" 'nbd-tls-cert' "in words"
run gridboxd --state "$tap_tmp/other" --nbd-tls-psk "$tap_tmp/psk"
status_is 2 "keys without TLS are refused"
run gridboxd --state "$tap_tmp/other" --nbd-tls require --nbd-tls-psk "$tap_tmp/nothing"
unlike "$status" '^0$' "a file that is not there is named"
like "$err" 'nothing' "by its path"
openssl pkcs8 -topk8 -in "$pki/server-key.pem" -passout pass:secret -out "$pki/locked-key.pem" 2>/dev/null
run gridboxd --state "$tap_tmp/other" --nbd-tls require --nbd-tls-cert "$pki/server-cert.pem" \
    --nbd-tls-key "$pki/locked-key.pem"
unlike "$status" '^0$' "a key with a passphrase is refused, not asked for"
like "$err" 'locked-key' "by its path"
run gridboxd --state "$tap_tmp/other" --nbd-tls require --nbd-tls-cert "$pki/server-cert.pem" --nbd-tls-key "$pki/client-key.pem"
unlike "$status" '^0$' "and one of another certificate"
like "$err" 'client-key' "likewise"
done_testing
