# frozen_string_literal: true

require 'async/condition'

# What a check raises.
class Failure < StandardError
end

TERMINAL = %w[job.result job.error].freeze
NUMBERED = ['job.event', *TERMINAL].freeze
OPENING = %w[job.accepted job.subscribed].freeze

# A transport that remembers every frame that passes through it.
class Recorder < Arcp::Transport::Base
  attr_reader :sent, :received, :failure

  def initialize(inner)
    super()
    @inner = inner
    @sent = []
    @received = []
    @failure = nil
    @changed = Async::Condition.new
  end

  def send(envelope)
    @sent << envelope
    @inner.send(envelope)
  end

  def receive
    envelope = @inner.receive
    envelope.nil? ? @failure = 'end of the connection' : @received << envelope
    envelope
  rescue StandardError => e
    @failure = e.message
    raise
  ensure
    @changed.signal
  end

  def close(reason: nil) = @inner.close(reason: reason)
  def closed? = @inner.closed?

  # The first `count` received frames that match, waiting for those still to come.
  def wait(what, count = 1, timeout: WAIT_SEC, &matches)
    deadline = Async::Clock.now + timeout
    until (found = @received.select(&matches)).size >= count
      raise Failure, "#{found.size} of #{count} #{what}, then: #{@failure}" if @failure

      remaining = deadline - Async::Clock.now
      raise Failure, "#{found.size} of #{count} #{what} within #{timeout} s" if remaining <= 0

      begin
        Async::Task.current.with_timeout(remaining) { @changed.wait }
      rescue Async::TimeoutError
        nil
      end
    end
    found.first(count)
  end

  def wait_ticks(job_id, count) = wait('progress events', count) { |f| f.job_id == job_id && progress?(f) }
  def wait_end(job_id) = wait('terminal frames') { |f| f.job_id == job_id && TERMINAL.include?(f.type) }.first

  def of_type(type) = @received.select { |f| f.type == type }
  def of_job(job_id) = @received.select { |f| f.job_id == job_id }
  def stream(job_id) = of_job(job_id).select { |f| NUMBERED.include?(f.type) }
  def ticks(job_id) = of_job(job_id).select { |f| progress?(f) }.map { |f| f.payload['body']['current'] }
  def last_seq = @received.filter_map(&:event_seq).max || 0

  # What two sessions that see the same job must agree on.
  def essences(job_id)
    stream(job_id).map { |f| [f.type, *f.payload.values_at('kind', 'body', 'final_status', 'code', 'result')] }
  end

  private

  def progress?(frame) = frame.type == 'job.event' && frame.payload['kind'] == 'progress'
end

# What a resumed connection inherits from those before it: the last number, each job's state, and how many events of
# each job its user has had.
Carried = Struct.new(:last_seq, :jobs, :seen) do
  def self.nothing = new(0, {}, {})

  # The state of a session as its client knows it that has processed everything up to `last_seq`.
  def self.over(frames, before, last_seq)
    after = new(last_seq, before.jobs.dup, before.seen.dup)
    frames.each do |f|
      next unless f.type.start_with?('job.') && f.job_id

      processed = (f.event_seq || 0) <= last_seq
      after.jobs[f.job_id] = TERMINAL.include?(f.type) && processed ? :ended : :open
      after.seen[f.job_id] = (after.seen[f.job_id] || 0) + 1 if f.type == 'job.event' && processed
    end
    after
  end

  # Who goes on by counted events may get the end of a job again, and no number that only other jobs explain.
  def by_count = self.class.new(nil, jobs.transform_values { :open }, seen)
end

# Everything in one connection's frames that breaks the protocol, in words. The client itself has checked the
# envelopes' fields.
def violations(frames, carried)
  seq = carried.last_seq || 0
  jobs = carried.jobs.dup
  frames.flat_map do |f|
    found = []
    found << "#{f.type}: session_id #{f.session_id}" if f.session_id != frames.first.session_id
    if NUMBERED.include?(f.type) && f.event_seq
      due = carried.last_seq ? f.event_seq == seq + 1 : f.event_seq > seq
      found << "#{f.type}: event_seq #{f.event_seq} after #{seq}" unless due
      seq = [seq, f.event_seq].max
    elsif f.event_seq
      found << "#{f.type}: carries event_seq #{f.event_seq}"
    end
    found + job_violations(f, jobs)
  end
end

def job_violations(frame, jobs)
  return [] unless frame.type.start_with?('job.')

  state = jobs[frame.job_id]
  jobs[frame.job_id] = TERMINAL.include?(frame.type) ? :ended : :open
  # A refused subscribe is the end of a job that this session never had.
  refusal = frame.type == 'job.error' && frame.payload['reply_to']
  return ["#{frame.type}: no job_id"] unless frame.job_id
  return [] if OPENING.include?(frame.type) || refusal
  return ["#{frame.type} of #{frame.job_id} after its terminal frame"] if state == :ended

  state.nil? ? ["#{frame.type} of #{frame.job_id} before its job.accepted"] : []
end
