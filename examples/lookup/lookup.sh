#!/bin/sh
# lookup.sh PEER LOCAL: prints the client of a connection, such as
# lookup.sh 10.0.0.2:34711 10.0.1.2:443; needs OpenBSD's netcat
echo "$1 $2" | nc -N -U "${PROXYIP_LOOKUP:-/run/proxyip/lookup.sock}"
