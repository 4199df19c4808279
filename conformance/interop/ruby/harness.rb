# frozen_string_literal: true

require 'arcp'
require 'async'
require 'async/barrier'
require_relative 'wire'
require_relative 'link'

WAIT_SEC = 8
HEARTBEAT_SEC = ENV.fetch('ARCPD_HEARTBEAT_SEC').to_i
RESUME_WINDOW_SEC = ENV.fetch('ARCPD_RESUME_SEC').to_i

# Both forms call themselves 1.0.0; only the later one knows how a cancellation is confirmed.
GEM_1_0_0 = !Arcp::Job.const_defined?(:Cancelled)
SUCCESS = GEM_1_0_0 ? 'succeeded' : 'success'

Scenario = Struct.new(:name, :transports, :body)
SCENARIOS = [] # rubocop:disable Style/MutableConstant

# Registers a scenario; for both transports unless told.
def scenario(name, *transports, &body)
  SCENARIOS << Scenario.new(name.to_s, transports.empty? ? %w[ws stdio] : transports, body)
end

def check(holds, what)
  raise Failure, what unless holds
end

def equal(got, wanted, what)
  raise Failure, "#{what}: expected #{short(wanted)}, got #{short(got)}" unless got == wanted
end

def short(value)
  text = value.inspect
  text.size <= 240 ? text : "#{text[0, 150]} … #{text[-60..]} (#{text.size} characters)"
end

def within(what, seconds = WAIT_SEC, &)
  Async::Task.current.with_timeout(seconds, &)
rescue Async::TimeoutError
  raise Failure, "#{what} did not complete within #{seconds} s"
end

# The block must raise one of these errors of the client.
def fails_with(what, *classes, &)
  value = within(what, &)
rescue *classes => e
  check(!e.message.empty?, "#{what}: an error without a message")
  e
rescue Arcp::Error => e
  raise Failure, "#{what}: expected #{classes.join(' or ')}, got #{e.class}: #{e.message}"
else
  raise Failure, "#{what}: expected #{classes.join(' or ')}, got #{short(value)}"
end

# Runs the block `count` times side by side and fails with the first failure.
def gather(count)
  barrier = Async::Barrier.new
  tasks = Array.new(count) { |i| barrier.async { yield i } }
  tasks.map(&:wait)
ensure
  barrier.stop
end

def ticks_in(events) = events.select { |e| e.kind == 'progress' }.map { |e| e.body.current }

# A job of a session, as its submitter or as a watcher sees it.
class Job
  attr_reader :handle, :id

  def initialize(session, id, handle = nil)
    @session = session
    @id = id
    @handle = handle
  end

  # All events up to the end of the job. The client keeps one queue for each job: they are had once.
  def events = @events ||= within("events of #{id}") { @session.client.subscribe_job(job_id: id).to_a }
  def ticks = ticks_in(events)
  def outcome = within("result of #{id}") { @session.client.get_result(job_id: id) }
  def cancel(reason: nil) = @session.client.cancel_job(job_id: id, reason: reason)
  def must_fail(*classes) = fails_with("job #{id}", *classes) { outcome }

  # The inline result of a job that must succeed.
  def result
    payload = outcome
    equal(payload.final_status, 'success', "final status of #{id}")
    payload.result
  end
end

# One connection of the client, with what passed over it.
class Session
  attr_reader :wire, :link, :carried, :principal
  attr_accessor :client, :dropped

  def initialize(principal, link, carried)
    @principal = principal
    @link = link
    @wire = Recorder.new(link.transport)
    @carried = carried
  end

  def submit(agent, input = nil, **options)
    handle = within("submit #{agent}") { client.submit_job(agent: agent, input: input, **options) }
    Job.new(self, handle.job_id, handle)
  end

  def run(agent, input = nil, **options) = submit(agent, input, **options).result

  # Submits what must be refused.
  def refused(error, agent, input = nil, **options)
    fails_with("submit #{agent}", error) { client.submit_job(agent: agent, input: input, **options) }
  end

  # Watches another session's job; the events are had from the job that is returned.
  def watch(job_id, history: true, from: 0)
    stream = client.subscribe_job(job_id: job_id, from_event_seq: from, history: history)
    job = Job.new(self, job_id)
    job.define_singleton_method(:events) { @events ||= within("events of #{job_id}") { stream.to_a } }
    job
  end

  def rows(**filter) = within('list_jobs') { client.list_jobs(**filter).to_a }
  def row(job_id) = rows(limit: 1000).find { |row| row.job_id == job_id } || raise(Failure, "#{job_id} is not listed")
  def last_seq = [wire.last_seq, carried.last_seq || 0].max

  # A round trip: whatever was sent before has been handled when it returns.
  def settle = within('list_jobs') { client.list_jobs(limit: 1).first(1) }

  # Why the client's reader died, if it did.
  def death
    reader = client&.instance_variable_get(:@reader_task)
    return if dropped || !reader&.failed?

    reader.wait
  rescue StandardError => e
    "the client's reader died: #{e.class}: #{e.message}"
  end
end

# Opens sessions for one scenario, judges their frames and takes everything down again.
class World
  def initialize(transport)
    @transport = transport
    @sessions = []
  end

  def open(principal = 'alice', token: nil, features: nil, resume: nil, carried: Carried.nothing)
    link = within('connecting') { @transport == 'ws' ? WebSocketLink.new : StdioLink.new }
    session = Session.new(principal, link, carried)
    @sessions << session
    auth = { 'scheme' => 'bearer', 'token' => token || ENV.fetch("ARCPD_TOKEN_#{principal.upcase}") }
    capabilities = features && Arcp::Session::CapabilitySet.local(features: features)
    session.client = within('open') do
      Arcp::Client.open(transport: session.wire, auth: auth, resume: resume, capabilities: capabilities)
    end
    session
  end

  # The newest connection, also where its handshake was refused.
  def last = @sessions.last

  # Takes a session up again on a new connection, by default as a client that has processed what it received. The
  # guide of gem 1.0.0 counts the events of each job, the later form names the last number.
  def resume(session, last_seq: session.last_seq, principal: session.principal,
             token: session.client.session.resume_token, by_count: GEM_1_0_0)
    carried = Carried.over(session.wire.received, session.carried, last_seq)
    position = by_count ? carried.seen : last_seq
    resumed = open(principal, resume: { 'token' => token, 'last_event_seq' => position },
                              carried: by_count ? carried.by_count : carried)
    equal(resumed.client.session.id, session.client.session.id, 'session id after the resume')
    check(resumed.client.session.resume_token != session.client.session.resume_token, 'the resume token did not change')
    resumed
  end

  # Breaks the session's connection as a failing network would.
  def drop(session)
    session.dropped = true
    session.link.drop
    within('closing a broken client') { session.client.close }
  end

  def complaints
    @sessions.flat_map { |s| [s.death, *violations(s.wire.received, s.carried)].compact }
  end

  def close
    @sessions.each do |session|
      session.client&.close
      session.link.dispose
    rescue StandardError
      nil
    end
  end
end
