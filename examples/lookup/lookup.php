<?php
// lookup.php PEER LOCAL: prints the client of a connection, such as lookup.php 10.0.0.2:34711 10.0.1.2:443
if (count($argv) != 3 || !$agent = @stream_socket_client('unix://' . (getenv('PROXYIP_LOOKUP') ?: '/run/proxyip/lookup.sock')))
    exit("usage: lookup.php PEER LOCAL, while an agent runs\n");
fwrite($agent, "$argv[1] $argv[2]\n");
echo fgets($agent);
