# frozen_string_literal: true

COUNT = 25
SLOW = { count: COUNT, interval_ms: 20 }.freeze
ALL = [*1..COUNT].freeze

# A time of the daemon's clock, later than every earlier job and earlier than every later one.
def moment(session)
  job = session.submit('ticker', { count: 3, interval_ms: 4 })
  job.result
  session.wire.stream(job.id)[1].payload['ts']
end

def ids(rows) = rows.map(&:job_id)

scenario :list_rows_are_complete do |world|
  session = world.open
  job = session.submit('ticker', { count: 3, interval_ms: 1 })
  job.result
  row = session.row(job.id)
  equal([row.agent, row.status], ['ticker@1.0.0', SUCCESS], 'agent and status')
  check((Time.iso8601(row.created_at) - Time.iso8601(job.handle.submitted_at)).abs <= 1, "created_at #{row.created_at}")
end

scenario :list_shows_when_a_lease_ends do |world|
  session = world.open
  lease = Arcp::Lease::LeaseConstraints.new(expires_at: from_now(300), max_budget: nil)
  job = session.submit('sleeper', { ms: 20_000 }, lease_constraints: lease)
  equal(session.row(job.id).lease_expires_at, job.handle.lease.expires_at, 'lease_expires_at')
  job.cancel
end

scenario :list_shows_only_own_jobs, 'ws' do |world|
  alice = world.open
  bob = world.open('bob')
  hers = alice.submit('echo', 'alice')
  his = bob.submit('echo', 'bob')
  [hers, his].each(&:result)
  [{}, { agent: 'echo' }, { status: [SUCCESS, 'running'] }].each do |filter|
    equal(ids(bob.rows(**filter)) & [hers.id, his.id], [his.id], "jobs that bob sees with #{filter}")
  end
  check(ids(alice.rows).include?(hers.id), 'alice misses a job of her own')
end

scenario :list_shows_jobs_of_all_own_sessions, 'ws' do |world|
  job = world.open.submit('echo', 1)
  job.result
  equal(world.open.row(job.id).status, SUCCESS, "status of the other session's job")
end

scenario :list_filters_by_status do |world|
  session = world.open
  running = session.submit('ticker', { count: 2000, interval_ms: 10 })
  session.wire.wait_ticks(running.id, 1)
  success = session.submit('echo', 1)
  success.result
  failed = session.submit('failer', {})
  failed.must_fail(Errors::Internal)
  cancelled = session.submit('sleeper', { ms: 20_000 })
  cancelled.cancel
  cancelled.must_fail(Errors::Cancelled)
  by_status = { 'running' => running, SUCCESS => success, 'error' => failed, 'cancelled' => cancelled }
  own = by_status.values.map(&:id)
  by_status.each do |status, job|
    # The gem's runtime takes a list as well as a single word.
    [[status], status].each do |filter|
      rows = session.rows(status: filter)
      equal(rows.map(&:status).uniq, [status], "statuses under the filter #{filter}")
      equal(own & ids(rows), [job.id], "jobs under the filter #{filter}")
    end
  end
  equal(own & ids(session.rows(status: [SUCCESS, 'error'])), [success.id, failed.id], 'jobs of two statuses')
end

scenario :list_filters_by_agent do |world|
  session = world.open
  agents = %w[echo@1.0.0 echo@2.0.0 ticker@1.0.0]
  own = agents.map { |agent| session.submit(agent).tap(&:result).id }
  equal(own & ids(session.rows(agent: 'echo')), own.first(2), 'jobs of the agent echo')
  agents.zip(own) { |agent, id| equal(own & ids(session.rows(agent: agent)), [id], "jobs of #{agent}") }
  equal(session.rows(agent: 'echo@9.9.9'), [], 'jobs of a version that never ran')
end

scenario :list_filters_by_creation_time do |world|
  session = world.open
  session.run('echo', 'earlier')
  between = moment(session)
  later = session.submit('echo', 'later').tap(&:result)
  equal(ids(session.rows(created_after: between)), [later.id], 'jobs after the moment between the two')
  equal(session.rows(created_after: between, agent: 'ticker', status: [SUCCESS]), [], 'tickers after that moment')
end

scenario :list_pages_show_each_job_once do |world|
  session = world.open
  start = moment(session)
  wanted = Array.new(7) { |i| session.submit('echo', i).tap(&:result).id }
  seen = []
  # The listing is lazy: new jobs arrive while its pages are read.
  within('list_jobs') do
    session.client.list_jobs(created_after: start, limit: 2).each do |row|
      seen << row.job_id
      session.run('echo', 'inserted') if seen.size < 6
    end
  end
  equal(seen.uniq, seen, 'rows, each once')
  equal(wanted - seen, [], 'jobs that no page showed')
end

scenario :list_refuses_a_tampered_cursor do |world|
  session = world.open
  fails_with('list_jobs with a made-up cursor', Errors::InvalidRequest) { session.rows(cursor: 'not-a-cursor') }
  equal(session.run('echo', 'after'), 'after', 'echo after a refusal')
end

scenario :list_does_not_subscribe do |world|
  session = world.open
  job = session.submit('ticker', { count: 10, interval_ms: 15 })
  5.times { session.settle }
  equal(job.ticks, [*1..10], 'ticks')
end

# Both sessions' streams agree, but for the first `skipped` frames.
def same_streams(watcher, submitter, job, skipped = 0)
  [watcher, submitter].each { |session| session.wire.wait_end(job.id) }
  equal(watcher.wire.essences(job.id), submitter.wire.essences(job.id).drop(skipped), "the watcher's stream")
end

scenario :subscribe_with_history_to_a_running_job, 'ws' do |world|
  submitter = world.open
  watcher = world.open
  job = submitter.submit('ticker', SLOW)
  submitter.wire.wait_ticks(job.id, 5)
  watched = watcher.watch(job.id)
  equal(watched.ticks, ALL, 'ticks of the subscription')
  equal(watched.result, { 'ticks' => COUNT }, 'result of the subscription')
  same_streams(watcher, submitter, job)
end

scenario :subscribe_to_a_finished_job, 'ws' do |world|
  submitter = world.open
  job = submitter.submit('ticker', { count: 6, interval_ms: 1 })
  seen = job.events
  watcher = world.open
  watched = watcher.watch(job.id)
  equal(watched.events, seen, 'events of the subscription')
  equal(watched.result, { 'ticks' => 6 }, 'result of the subscription')
  same_streams(watcher, submitter, job)
end

scenario :subscribe_to_a_finished_job_without_history, 'ws' do |world|
  job = world.open.submit('ticker', { count: 6, interval_ms: 1 })
  job.result
  watched = world.open.watch(job.id, history: false)
  equal(watched.events, [], 'events of the subscription')
  equal(watched.result, { 'ticks' => 6 }, 'result of the subscription')
end

scenario :subscribe_to_a_failed_job, 'ws' do |world|
  job = world.open.submit('failer', { code: 'PERMISSION_DENIED', message: 'no', after_events: 2 })
  seen = job.events
  watched = world.open.watch(job.id)
  equal(watched.events, seen, 'events of the subscription')
  equal(watched.must_fail(Errors::PermissionDenied).message, 'no', 'message')
end

scenario :subscribe_from_a_position, 'ws' do |world|
  submitter = world.open
  submitter.submit('ticker', { count: 4, interval_ms: 1 }).result
  job = submitter.submit('ticker', SLOW)
  submitter.wire.wait_ticks(job.id, 8)
  watcher = world.open
  watched = watcher.watch(job.id, from: 5)
  equal(watched.ticks, [*6..COUNT], 'ticks of the subscription')
  same_streams(watcher, submitter, job, 5)
end

scenario :subscribe_without_history_is_live_only, 'ws' do |world|
  submitter = world.open
  watcher = world.open
  job = submitter.submit('ticker', SLOW)
  submitter.wire.wait_ticks(job.id, 6)
  ticks = watcher.watch(job.id, history: false).ticks
  check(ticks.first > 6, "an event of the past: #{ticks.first}")
  equal(ticks, [*ticks.first..COUNT], 'ticks of the subscription')
end

scenario :subscribe_to_an_own_job_doubles_nothing do |world|
  session = world.open
  job = session.submit('ticker', SLOW)
  session.wire.wait_ticks(job.id, 3)
  session.watch(job.id, history: false)
  equal(job.ticks, ALL, 'ticks')
  equal(job.result, { 'ticks' => COUNT }, 'result')
  session.settle
  equal(session.wire.ticks(job.id), ALL, 'ticks on the wire')
end

scenario :several_watchers_see_the_same, 'ws' do |world|
  submitter = world.open
  job = submitter.submit('ticker', SLOW)
  watchers = [1, 4, 9].map do |ticks|
    submitter.wire.wait_ticks(job.id, ticks)
    world.open.tap { |watcher| watcher.watch(job.id) }
  end
  watchers.each { |watcher| same_streams(watcher, submitter, job) }
end

scenario :a_watcher_may_watch_and_work, 'ws' do |world|
  submitter = world.open
  watcher = world.open
  job = submitter.submit('ticker', SLOW)
  watched = watcher.watch(job.id)
  own = watcher.submit('ticker', { count: 30, interval_ms: 7 })
  equal(own.ticks, [*1..30], 'ticks of the own job')
  equal(watched.ticks, ALL, 'ticks of the subscription')
end

scenario :foreign_job_cannot_be_watched, 'ws' do |world|
  alice = world.open
  bob = world.open('bob')
  job = alice.submit('ticker', SLOW)
  alice.wire.wait_ticks(job.id, 2)
  watched = bob.watch(job.id)
  equal(watched.events, [], "events of alice's job at bob's")
  watched.must_fail(Errors::JobNotFound, Errors::PermissionDenied)
  equal(job.ticks, ALL, "alice's ticks")
  equal(bob.run('echo', 'after'), 'after', 'echo after a refusal')
end

scenario :unknown_job_cannot_be_watched do |world|
  session = world.open
  running = session.submit('ticker', SLOW)
  watched = session.watch(UNKNOWN_JOB)
  equal(watched.events, [], 'events of a job that is none')
  watched.must_fail(Errors::JobNotFound)
  equal(running.ticks, ALL, 'ticks of the running job')
end

scenario :a_watcher_cannot_cancel, 'ws' do |world|
  submitter = world.open
  watcher = world.open
  job = submitter.submit('ticker', SLOW)
  watched = watcher.watch(job.id)
  watcher.wire.wait_ticks(job.id, 2)
  watched.cancel
  equal(job.ticks, ALL, "the submitter's ticks")
  equal(watched.ticks, ALL, "the watcher's ticks")
  equal(watched.result, { 'ticks' => COUNT }, "the watcher's result")
end
