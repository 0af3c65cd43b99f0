#!/bin/sh
# Makes the certificates anew, here, valid from 2020 to 2120 wherever a test's clock may stand.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"

touch index.txt
cat >ca.conf <<END
[ca]
default_ca = test
[test]
database = index.txt
new_certs_dir = .
rand_serial = yes
default_md = sha256
policy = any
[any]
commonName = supplied
[authority]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[leaf]
subjectAltName = DNS:tanager.test, IP:127.0.0.1
END

make() { # name, subject, section of extensions, how to sign
    name=$1 subject=$2 extensions=$3
    shift 3
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$subject" -keyout "$name.key" -out "$name.csr"
    openssl ca -batch -notext -config ca.conf -extensions "$extensions" -in "$name.csr" -out "$name.pem" \
        -startdate 20200101000000Z -enddate 21200101000000Z "$@"
}
make ca "Tanager test CA" authority -selfsign -keyfile ca.key
make server server leaf -cert ca.pem -keyfile ca.key
make client client leaf -cert ca.pem -keyfile ca.key

cp ca.pem server.pem server.key client.pem client.key "$here"
