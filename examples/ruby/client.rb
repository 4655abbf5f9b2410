# Tells each connection who its client is: ruby client.rb 0.0.0.0 8080

require "ipaddr"
require "socket"

LEVEL = 0x5050
INFO = 1

def address(raw)
  family, port = raw.unpack("Sn")
  packed = family == Socket::AF_INET ? raw[4, 4] : raw[8, 16]
  "#{IPAddr.new_ntoh(packed)} #{port}"
end

server = TCPServer.new(ARGV[0], Integer(ARGV[1]))
loop do
  connection = server.accept
  begin
    info = connection.getsockopt(LEVEL, INFO).data
    connection.puts "#{address(info[8, 28])} #{address(info[36, 28])}"
  rescue Errno::ENOPROTOOPT, Errno::EOPNOTSUPP
    connection.puts "no header"
  end
rescue Errno::ECONNRESET, Errno::EPIPE
  # The client has gone before it was told.
ensure
  connection&.close
end
