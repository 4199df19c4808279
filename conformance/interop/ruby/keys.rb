# frozen_string_literal: true

UNKNOWN_JOB = 'job_01J8ZQ5R8M3X4Y5Z6A7B8C9D0E'

scenario :same_key_after_the_end_completes_both do |world|
  session = world.open
  first = session.submit('echo', { 'k' => 1 }, idempotency_key: 'after-the-end')
  equal(first.result, { 'k' => 1 }, 'first result')
  second = session.submit('echo', { 'k' => 1 }, idempotency_key: 'after-the-end')
  equal(second.handle, first.handle, 'handle')
  equal(second.result, { 'k' => 1 }, 'second result')
end

scenario :same_key_while_running_is_one_job do |world|
  session = world.open
  first = session.submit('ticker', { count: 15, interval_ms: 20 }, idempotency_key: 'while-running')
  session.wire.wait_ticks(first.id, 3)
  second = session.submit('ticker', { count: 15, interval_ms: 20 }, idempotency_key: 'while-running')
  equal(second.id, first.id, 'job id')
  equal(second.result, { 'ticks' => 15 }, 'result')
  equal(session.wire.ticks(first.id), [*1..15], 'ticks on the wire')
end

scenario :same_key_in_a_second_session_while_running, 'ws' do |world|
  one = world.open
  two = world.open
  first = one.submit('ticker', { count: 15, interval_ms: 20 }, idempotency_key: 'second-session')
  one.wire.wait_ticks(first.id, 4)
  second = two.submit('ticker', { count: 15, interval_ms: 20 }, idempotency_key: 'second-session')
  equal(second.id, first.id, 'job id')
  [first, second].each do |job|
    equal(job.ticks, [*1..15], 'ticks')
    equal(job.result, { 'ticks' => 15 }, 'result')
  end
end

scenario :same_key_in_a_second_session_after_the_end, 'ws' do |world|
  first = world.open.submit('ticker', { count: 4, interval_ms: 1 }, idempotency_key: 'second-session-late')
  seen = first.events
  second = world.open.submit('ticker', { count: 4, interval_ms: 1 }, idempotency_key: 'second-session-late')
  equal(second.id, first.id, 'job id')
  equal(second.events, seen, 'events of the second handle')
  equal(second.result, { 'ticks' => 4 }, 'second result')
end

scenario :same_key_gives_a_second_session_cancel_authority, 'ws' do |world|
  first = world.open.submit('sleeper', { ms: 20_000 }, idempotency_key: 'authority')
  second = world.open.submit('sleeper', { ms: 20_000 }, idempotency_key: 'authority')
  second.cancel
  [first, second].each { |job| job.must_fail(Errors::Cancelled) }
end

scenario :same_key_with_the_resolved_agent_name do |world|
  session = world.open
  first = session.submit('echo', [1], idempotency_key: 'resolved-name')
  first.result
  second = session.submit('echo@2.0.0', [1], idempotency_key: 'resolved-name')
  equal(second.id, first.id, 'job id')
  equal(second.result, [1], 'second result')
end

scenario :key_conflict_while_running do |world|
  session = world.open
  first = session.submit('ticker', { count: 15, interval_ms: 20 }, idempotency_key: 'conflict-running')
  session.wire.wait_ticks(first.id, 3)
  session.refused(Errors::DuplicateKey, 'ticker', { count: 16 }, idempotency_key: 'conflict-running')
  equal(first.ticks, [*1..15], 'ticks of the first job')
  equal(first.result, { 'ticks' => 15 }, 'result of the first job')
end

scenario :key_conflict_after_the_end do |world|
  session = world.open
  first = session.submit('echo', { 'k' => 1 }, idempotency_key: 'conflict-ended')
  first.result
  session.refused(Errors::DuplicateKey, 'echo', { 'k' => 2 }, idempotency_key: 'conflict-ended')
  session.refused(Errors::DuplicateKey, 'echo', { 'k' => 1 }, idempotency_key: 'conflict-ended', max_runtime_sec: 9)
  again = session.submit('echo', { 'k' => 1 }, idempotency_key: 'conflict-ended')
  equal(again.id, first.id, 'job id')
  equal(again.result, { 'k' => 1 }, 'result')
end

scenario :the_same_key_of_another_principal_is_independent, 'ws' do |world|
  hers = world.open.submit('echo', 'alice', idempotency_key: 'shared-key')
  his = world.open('bob').submit('echo', 'bob', idempotency_key: 'shared-key')
  check(hers.id != his.id, 'two principals share a job')
  equal([hers.result, his.result], %w[alice bob], 'results')
end

scenario :a_repeated_failure_fails_again do |world|
  session = world.open
  request = { code: 'PERMISSION_DENIED', message: 'no' }
  2.times do
    job = session.submit('failer', request, idempotency_key: 'failed-before')
    equal(job.must_fail(Errors::PermissionDenied).message, 'no', 'message')
  end
end

scenario :cancel_ends_a_running_job do |world|
  session = world.open
  job = session.submit('sleeper', { ms: 20_000 })
  job.cancel
  job.must_fail(Errors::Cancelled)
  equal(session.wire.wait_end(job.id).payload['final_status'], 'cancelled', 'final status')
end

scenario :cancel_in_the_middle_of_a_stream do |world|
  session = world.open
  job = session.submit('ticker', { count: 2000, interval_ms: 10 })
  session.wire.wait_ticks(job.id, 5)
  job.cancel(reason: 'seen enough')
  job.must_fail(Errors::Cancelled)
  equal(job.ticks, [*1..job.ticks.size], 'ticks before the cancel')
  check(job.ticks.size < 1000, 'the ticker went on after the cancel')
  equal(session.row(job.id).status, 'cancelled', 'status in the listing')
end

scenario :cancel_touches_only_its_job do |world|
  session = world.open
  doomed = session.submit('sleeper', { ms: 20_000 })
  other = session.submit('ticker', { count: 10, interval_ms: 15 })
  doomed.cancel
  doomed.must_fail(Errors::Cancelled)
  equal(other.ticks, [*1..10], 'ticks of the other job')
  equal(other.result, { 'ticks' => 10 }, 'result of the other job')
end

scenario :cancel_of_a_finished_job_disturbs_nothing do |world|
  session = world.open
  finished = session.submit('echo', 1)
  finished.result
  running = session.submit('ticker', { count: 10, interval_ms: 20 })
  session.wire.wait_ticks(running.id, 2)
  finished.cancel
  equal(running.ticks, [*1..10], 'ticks of the running job')
  equal(running.result, { 'ticks' => 10 }, 'result of the running job')
  equal(finished.result, 1, 'result of the finished job')
  equal(session.row(finished.id).status, SUCCESS, 'status of the finished job')
end

scenario :cancel_of_an_unknown_job_disturbs_nothing do |world|
  session = world.open
  running = session.submit('ticker', { count: 10, interval_ms: 20 })
  session.wire.wait_ticks(running.id, 2)
  session.client.cancel_job(job_id: UNKNOWN_JOB)
  equal(session.run('echo', 'next'), 'next', 'a submit right behind it')
  equal(running.ticks, [*1..10], 'ticks of the running job')
  equal(running.result, { 'ticks' => 10 }, 'result of the running job')
end

scenario :another_principal_cannot_cancel, 'ws' do |world|
  alice = world.open
  job = alice.submit('ticker', { count: 15, interval_ms: 20 })
  alice.wire.wait_ticks(job.id, 2)
  world.open('bob').client.cancel_job(job_id: job.id)
  equal(job.result, { 'ticks' => 15 }, "result of alice's job")
end
