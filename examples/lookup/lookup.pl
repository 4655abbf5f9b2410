#!/usr/bin/perl
# lookup.pl PEER LOCAL: prints the client of a connection, such as lookup.pl 10.0.0.2:34711 10.0.1.2:443
use strict;
use IO::Socket::UNIX;
my $agent = IO::Socket::UNIX->new($ENV{PROXYIP_LOOKUP} // '/run/proxyip/lookup.sock') or die "no agent: $!";
$agent->print("@ARGV\n");
print scalar $agent->getline;
