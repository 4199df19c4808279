# frozen_string_literal: true

require 'async/http/endpoint'
require 'async/websocket'
require 'json'

# A way to the daemon that carries one session.
class WebSocketLink
  attr_reader :transport

  def initialize
    endpoint = Async::HTTP::Endpoint.parse(ENV.fetch('ARCPD_URL'), alpn_protocols: ['http/1.1'])
    @connection = Async::WebSocket::Client.connect(endpoint, protocols: ['arcp.v1'])
    @transport = Arcp::Transport::WebSocketTransport.new(connection: @connection)
  end

  # Breaks the connection without a word.
  def drop = @connection.framer.close

  # Releases whatever the link still holds.
  def dispose
    @transport.close
    @connection.framer.close
  end
end

# A process of the daemon for one session.
class StdioLink
  attr_reader :transport, :process

  def initialize
    input, theirs = IO.pipe
    ours, output = IO.pipe
    pid = Process.spawn(*JSON.parse(ENV.fetch('ARCPD_STDIO')), in: ours, out: theirs, err: File::NULL)
    [theirs, ours].each(&:close)
    @process = Process.detach(pid)
    @transport = Arcp::Transport::StdioTransport.new(input: input, output: output)
  end

  def drop = Process.kill(:KILL, @process.pid)

  def dispose
    @transport.close
    return if @process.join(5)

    drop
    @process.join
  end
end
