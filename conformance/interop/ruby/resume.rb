# frozen_string_literal: true

# A client object that resumes has queues for the jobs of before as soon as their frames arrive, so what follows the
# break is had by the client's own means.

LONG = 40
LONG_TICKING = { count: LONG, interval_ms: 20 }.freeze

# A second session that tells how far the job is while the first is away.
def witness(world, job) = world.open.tap { |session| session.watch(job.id) }

scenario :resume_in_the_middle_of_a_stream, 'ws' do |world|
  session = world.open
  job = session.submit('ticker', LONG_TICKING)
  witness = witness(world, job)
  ticks = []
  [5, 15, 25].each do |progress|
    witness.wire.wait_ticks(job.id, progress)
    session.wire.wait_ticks(job.id, 2)
    world.drop(session)
    ticks += session.wire.ticks(job.id)
    witness.wire.wait_ticks(job.id, progress + 4)
    session = world.resume(session)
  end
  resumed = Job.new(session, job.id)
  equal(ticks + resumed.ticks, [*1..LONG], 'ticks over all connections')
  equal(resumed.result, { 'ticks' => LONG }, 'result')
  equal(session.run('echo', 'next'), 'next', 'a new job after the resume')
end

scenario :resume_after_the_job_has_ended, 'ws' do |world|
  session = world.open
  job = session.submit('ticker', { count: 15, interval_ms: 10 })
  witness = witness(world, job)
  session.wire.wait_ticks(job.id, 3)
  world.drop(session)
  witness.wire.wait_end(job.id)
  resumed = Job.new(world.resume(session), job.id)
  equal(session.wire.ticks(job.id) + resumed.ticks, [*1..15], 'ticks over both connections')
  equal(resumed.result, { 'ticks' => 15 }, 'result')
end

scenario :resume_when_caught_up, 'ws' do |world|
  session = world.open
  session.run('ticker', { count: 3, interval_ms: 1 })
  world.drop(session)
  resumed = world.resume(session)
  equal(resumed.run('echo', 'next'), 'next', 'echo')
  equal(resumed.wire.of_type('job.event'), [], 'replayed events')
end

scenario :resume_of_a_session_without_jobs, 'ws' do |world|
  session = world.open
  world.drop(session)
  equal(world.resume(session).run('echo', 'first'), 'first', 'echo')
end

scenario :resume_from_an_earlier_position, 'ws' do |world|
  session = world.open
  job = session.submit('ticker', { count: 10, interval_ms: 1 })
  job.result
  world.drop(session)
  resumed = world.resume(session, last_seq: 4)
  equal(Job.new(resumed, job.id).ticks, [*5..10], 'replay')
end

scenario :resume_by_the_last_number, 'ws' do |world|
  session = world.open
  job = session.submit('ticker', LONG_TICKING)
  session.wire.wait_ticks(job.id, 5)
  world.drop(session)
  resumed = world.resume(session, by_count: false)
  equal(session.wire.ticks(job.id) + Job.new(resumed, job.id).ticks, [*1..LONG], 'ticks over both connections')
end

scenario :resume_with_several_jobs, 'ws' do |world|
  session = world.open
  jobs = Array.new(4) { |i| session.submit('ticker', { count: 20, interval_ms: 12 + i }) }
  session.wire.wait_ticks(jobs.first.id, 5)
  world.drop(session)
  resumed = world.resume(session)
  jobs.each do |job|
    equal(session.wire.ticks(job.id) + Job.new(resumed, job.id).ticks, [*1..20], 'ticks over both connections')
  end
end

scenario :cancel_after_resume, 'ws' do |world|
  session = world.open
  job = session.submit('sleeper', { ms: 20_000 })
  world.drop(session)
  resumed = Job.new(world.resume(session), job.id)
  resumed.cancel
  resumed.must_fail(Errors::Cancelled)
end

scenario :stale_resume_token_is_refused, 'ws' do |world|
  session = world.open
  session.run('echo', 1)
  world.drop(session)
  resumed = world.resume(session)
  equal(resumed.run('echo', 2), 2, 'echo after the resume')
  world.drop(resumed)
  fails_with('resume with a stale token', Errors::ResumeWindowExpired) do
    world.resume(resumed, token: session.client.session.resume_token)
  end
  equal(world.resume(resumed).run('echo', 3), 3, 'echo after the second resume')
end

scenario :invented_resume_token_is_refused, 'ws' do |world|
  session = world.open
  world.drop(session)
  fails_with('resume with an invented token', Errors::ResumeWindowExpired) do
    world.resume(session, token: 'rt_0123456789abcdef0123456789abcdef')
  end
  world.resume(session)
end

scenario :another_principal_cannot_resume, 'ws' do |world|
  session = world.open
  job = session.submit('ticker', { count: 20, interval_ms: 15 })
  session.wire.wait_ticks(job.id, 3)
  world.drop(session)
  fails_with('resume as bob', Errors::ResumeWindowExpired, Errors::PermissionDenied) do
    world.resume(session, principal: 'bob')
  end
  equal(world.last.wire.received.map(&:type), ['session.error'], 'frames that bob got')
  ticks = Job.new(world.resume(session), job.id).ticks
  equal(session.wire.ticks(job.id) + ticks, [*1..20], 'ticks over both connections')
end

scenario :subscriptions_survive_resume, 'ws' do |world|
  submitter = world.open
  job = submitter.submit('ticker', LONG_TICKING)
  watcher = witness(world, job)
  watcher.wire.wait_ticks(job.id, 6)
  world.drop(watcher)
  submitter.wire.wait_ticks(job.id, 12)
  ticks = Job.new(world.resume(watcher), job.id).ticks
  equal(watcher.wire.ticks(job.id) + ticks, [*1..LONG], 'ticks over both connections')
end

scenario :close_leaves_the_job_running, 'ws' do |world|
  session = world.open
  job = session.submit('ticker', { count: 20, interval_ms: 15 })
  witness = witness(world, job)
  session.wire.wait_ticks(job.id, 3)
  session.client.close
  # Gem 1.0.0 believes itself closed before it would say goodbye.
  equal(session.wire.sent.last.type, GEM_1_0_0 ? 'job.submit' : 'session.bye', 'last frame of the client')
  witness.wire.wait_end(job.id)
  resumed = Job.new(world.resume(session), job.id)
  equal(session.wire.ticks(job.id) + resumed.ticks, [*1..20], 'ticks over both connections')
  equal(resumed.result, { 'ticks' => 20 }, 'result')
end

scenario :idempotent_submit_after_a_lost_session, 'ws' do |world|
  lost = world.open
  job = lost.submit('ticker', LONG_TICKING, idempotency_key: 'lost-session')
  lost.wire.wait_ticks(job.id, 5)
  world.drop(lost)
  again = world.open.submit('ticker', LONG_TICKING, idempotency_key: 'lost-session')
  equal(again.id, job.id, 'job id')
  equal(again.ticks, [*1..LONG], 'ticks in the new session')
  equal(again.result, { 'ticks' => LONG }, 'result')
end

scenario :ack_then_resume, 'ws' do |world|
  session = world.open
  job = session.submit('ticker', LONG_TICKING)
  session.wire.wait_ticks(job.id, 10)
  session.client.ack(session.last_seq - 4)
  session.settle
  world.drop(session)
  position = session.last_seq - 2
  kept = session.wire.ticks(job.id).first(position)
  equal(kept + Job.new(world.resume(session, last_seq: position), job.id).ticks, [*1..LONG], 'ticks over both')
end

scenario :idle_session_stays_alive do |world|
  session = world.open
  # This client pings by itself, at every interval.
  pongs = session.wire.wait('pongs', 3, timeout: HEARTBEAT_SEC * 5) { |f| f.type == 'session.pong' }
  nonces = session.wire.sent.select { |f| f.type == 'session.ping' }.map { |f| f.payload['nonce'] }
  equal(pongs.map { |f| f.payload['ping_nonce'] }, nonces.first(3), 'answered pings')
  equal(session.run('echo', 'alive'), 'alive', 'echo after three idle intervals')
end

scenario :session_without_heartbeat_is_left_alone, 'ws' do |world|
  quiet = world.open(features: ['list_jobs'])
  world.open.wire.wait('pongs', 3, timeout: HEARTBEAT_SEC * 5) { |f| f.type == 'session.pong' }
  equal(quiet.wire.of_type('session.ping'), [], 'pings')
  equal(quiet.run('echo', 'alive'), 'alive', 'echo after three idle intervals')
end

scenario :a_long_job_outlives_several_heartbeats do |world|
  ms = (HEARTBEAT_SEC * 2000) + 300
  equal(world.open.run('sleeper', { ms: ms }), { 'slept_ms' => ms }, 'result')
end

scenario :ack_changes_nothing_in_the_stream do |world|
  session = world.open
  job = session.submit('ticker', { count: 15, interval_ms: 5 })
  (1..10).each do |ticks|
    session.wire.wait_ticks(job.id, ticks)
    session.client.ack(session.last_seq)
  end
  session.client.ack(1)
  equal(job.ticks, [*1..15], 'ticks')
  equal(session.wire.of_type('session.error'), [], 'session.error frames')
end

scenario :process_ends_with_its_session, 'stdio' do |world|
  session = world.open
  equal(session.run('echo', 1), 1, 'echo')
  session.client.close
  check(session.link.process.join(WAIT_SEC), 'the process did not end')
  equal(session.link.process.value.exitstatus, 0, 'exit status')
end

scenario :refused_process_ends, 'stdio' do |world|
  fails_with('open', Errors::Unauthenticated) { world.open(token: 'nope') }
  check(world.last.link.process.join(WAIT_SEC), 'the process did not end')
end

scenario :many_sessions_at_once, 'ws' do |world|
  gather(30) do |i|
    session = world.open(i.odd? ? 'alice' : 'bob')
    equal(session.run('echo', i), i, 'echo')
    equal(session.submit('ticker', { count: 10, interval_ms: 2 }).ticks, [*1..10], 'ticks')
  end
end
