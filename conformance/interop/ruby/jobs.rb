# frozen_string_literal: true

require 'time'

# What the daemon offers today of what this client asks for; budgets, models and credentials come later.
OFFERED = %w[ack agent_versions heartbeat lease_expires_at list_jobs progress result_chunk subscribe].freeze
TRACE_ID = '4bf92f3577b34da6a3ce929d0e0e4736'
Errors = Arcp::Errors
LeaseRequest = Arcp::Lease::LeaseRequest
LeaseConstraints = Arcp::Lease::LeaseConstraints

scenario :handshake_welcome_is_complete do |world|
  info = world.open.client.session
  check([info.id, info.runtime_version, info.resume_token].none? { |text| text.to_s.empty? }, "empty field in #{info}")
  equal(info.resume_window_sec, RESUME_WINDOW_SEC, 'resume_window_sec')
  equal(info.heartbeat_interval_sec, HEARTBEAT_SEC, 'heartbeat_interval_sec')
  equal(info.capabilities.encodings, Arcp::Session::CapabilitySet.local.encodings, 'encodings')
end

scenario :handshake_negotiates_what_both_sides_can do |world|
  equal(world.open.client.session.capabilities.features.sort, OFFERED, 'negotiated features')
end

scenario :handshake_features_are_the_intersection do |world|
  session = world.open(features: %w[list_jobs subscribe x-interop.unknown])
  equal(session.wire.received.first.payload['capabilities']['features'].sort, %w[list_jobs subscribe], 'features')
  fails_with('ack without the feature', Errors::UnnegotiatedFeature) { session.client.ack(1) }
  equal(session.run('echo', 'still works'), 'still works', 'echo')
end

scenario :handshake_lists_the_agents do |world|
  agents = world.open.client.session.agents
  equal(%w[echo ticker chunker spender sleeper failer] - agents.names, [], 'missing agents')
  equal(agents.versions_for('echo').sort, %w[1.0.0 2.0.0], 'versions of echo')
  equal(agents.resolve('echo'), 'echo@2.0.0', 'default version of echo')
end

scenario :bad_token_is_refused_and_the_connection_closed do |world|
  fails_with('open', Errors::Unauthenticated) { world.open(token: 'nope') }
  equal(world.last.wire.received.map(&:type), ['session.error'], 'frames of a refused handshake')
  begin
    equal(within('the end of the connection') { world.last.wire.receive }, nil, 'frame after the refusal')
  rescue Protocol::WebSocket::ClosedError
    nil
  end
end

scenario :sessions_of_one_principal_are_separate, 'ws' do |world|
  one = world.open
  two = world.open
  check(one.client.session.id != two.client.session.id, 'two sessions with one id')
  check(one.client.session.resume_token != two.client.session.resume_token, 'two sessions with one token')
  job = one.submit('ticker', { count: 3, interval_ms: 5 })
  equal(two.run('echo', 2), 2, 'echo in the second session')
  job.result
  two.settle
  equal(two.wire.of_job(job.id), [], "frames of another session's job")
end

# This client leaves out an input of nil or false.
VALUES = [
  "wörld 日本語 🎉 \u2028 \u0000 \" \\", '', true, 0, -1, (2**53) + 1, -(2**63), 1.5, [], {}, [nil],
  { 'n' => nil, '' => { 'deep' => [[[{ 'ключ' => [1, 2.25, 'x', false] }]]] } }
].freeze

scenario :echo_returns_every_kind_of_value do |world|
  session = world.open
  VALUES.each { |value| equal(session.run('echo', value), value, 'echo') }
end

scenario :echo_without_input do |world|
  equal(world.open.run('echo'), nil, 'echo without input')
end

scenario :bare_agent_name_takes_the_default_version do |world|
  job = world.open.submit('echo', 1)
  equal(job.handle.agent, 'echo@2.0.0', 'resolved agent')
  check(Time.iso8601(job.handle.submitted_at), 'submitted_at')
  equal(job.result, 1, 'result')
end

scenario :pinned_agent_version_is_honoured do |world|
  session = world.open
  %w[1.0.0 2.0.0].each do |version|
    job = session.submit("echo@#{version}", version)
    equal(job.handle.agent, "echo@#{version}", 'resolved agent')
    equal(job.result, version, 'result')
  end
end

scenario :trace_id_is_echoed do |world|
  session = world.open
  job = Arcp::Trace.with(trace_id: TRACE_ID) { session.submit('ticker', { count: 2 }) }
  job.result
  equal(session.wire.of_job(job.id).filter_map(&:trace_id).uniq, [TRACE_ID], "trace ids of the job's frames")
end

scenario :ticker_events_arrive_in_order do |world|
  job = world.open.submit('ticker', { count: 25, interval_ms: 5 })
  expected = (1..25).map { |i| ['progress', i, 25] }
  equal(job.events.map { |e| [e.kind, e.body.current, e.body.total] }, expected, 'events')
  equal(job.result, { 'ticks' => 25 }, 'result')
end

scenario :ticker_defaults do |world|
  job = world.open.submit('ticker')
  equal(job.ticks, [1, 2, 3], 'ticks')
  equal(job.result, { 'ticks' => 3 }, 'result')
end

scenario :twenty_concurrent_submits do |world|
  session = world.open
  equal(gather(20) { |i| session.run('echo', { 'i' => i }) }, (0...20).map { |i| { 'i' => i } }, 'results')
end

scenario :concurrent_streams_do_not_mix do |world|
  session = world.open
  streams = gather(10) { |i| session.submit('ticker', { count: 10 + i, interval_ms: 3 }).ticks }
  equal(streams, (0...10).map { |i| [*1..(10 + i)] }, 'streams')
end

scenario :fast_ticker_of_2000_events do |world|
  job = world.open.submit('ticker', { count: 2000, interval_ms: 0, size: 100 })
  equal(job.ticks, [*1..2000], 'ticks')
  equal(job.result, { 'ticks' => 2000 }, 'result')
end

scenario :unknown_agent_is_refused do |world|
  session = world.open
  session.refused(Errors::AgentNotAvailable, 'no-such-agent', {})
  equal(session.run('echo', 'after'), 'after', 'echo after a refusal')
end

scenario :unknown_agent_version_is_refused do |world|
  session = world.open
  session.refused(Errors::AgentVersionNotAvailable, 'echo@9.9.9')
  equal(session.run('echo', 'after'), 'after', 'echo after a refusal')
end

scenario :a_refusal_leaves_a_running_job_alone do |world|
  session = world.open
  running = session.submit('ticker', { count: 20, interval_ms: 15 })
  session.wire.wait_ticks(running.id, 2)
  session.refused(Errors::AgentNotAvailable, 'no-such-agent')
  equal(running.ticks, [*1..20], 'ticks of the running job')
  equal(running.result, { 'ticks' => 20 }, 'result of the running job')
end

scenario :refusals_among_concurrent_submits do |world|
  session = world.open
  running = session.submit('ticker', { count: 10, interval_ms: 20 })
  gather(30) do |i|
    if i % 3 != 2 then equal(session.run('echo', { 'i' => i }), { 'i' => i }, "echo #{i}")
    elsif i.odd? then session.refused(Errors::AgentNotAvailable, "no-such-agent-#{i}")
    else session.refused(Errors::AgentVersionNotAvailable, "echo@9.9.#{i}")
    end
  end
  equal(running.ticks, [*1..10], 'ticks of the running job')
end

scenario :failer_reports_code_message_and_events do |world|
  message = 'not ünder my wätch'
  job = world.open.submit('failer', { code: 'PERMISSION_DENIED', message: message, after_events: 3 })
  equal(job.must_fail(Errors::PermissionDenied).message, message, 'message')
  equal(job.events.map(&:kind), %w[log log log], 'events before the failure')
end

scenario :failer_defaults_to_internal_error do |world|
  equal(world.open.submit('failer', {}).must_fail(Errors::Internal).retryable?, true, 'retryable')
end

scenario :max_runtime_ends_a_job_as_timed_out do |world|
  session = world.open
  job = session.submit('sleeper', { ms: 20_000 }, max_runtime_sec: 1)
  job.must_fail(Errors::Timeout)
  equal(session.wire.wait_end(job.id).payload['final_status'], 'timed_out', 'final status')
  equal(session.row(job.id).status, 'timed_out', 'status in the listing')
end

scenario :max_runtime_that_is_kept_does_nothing do |world|
  equal(world.open.run('sleeper', { ms: 20 }, max_runtime_sec: 30), { 'slept_ms' => 20 }, 'result')
end

def from_now(seconds) = (Time.now.utc + seconds).iso8601(3)

scenario :lease_is_echoed_verbatim do |world|
  capabilities = %w[fs.read compute.zeta alpha x-vendor.interop:custom]
  lease = world.open.submit('echo', 1, lease_request: LeaseRequest.new(capabilities: capabilities)).handle.lease
  equal(lease.capabilities, capabilities, 'capabilities')
  check(!lease.id.empty? && Time.iso8601(lease.issued_at), 'id or issued_at is missing')
  equal([lease.expires_at, lease.budget, lease.model_use], [nil, nil, nil], 'what nobody asked for')
end

scenario :lease_with_budget_and_models_is_echoed do |world|
  request = LeaseRequest.new(
    capabilities: ['cost.spend'], model_use: ['tier-fast/*'],
    budget: Arcp::Lease::CostBudget.parse(['USD:1.50', 'EUR:0.25'])
  )
  lease = world.open.submit('echo', 1, lease_request: request).handle.lease
  equal(lease.capabilities, ['cost.spend'], 'capabilities')
  equal(lease.model_use, ['tier-fast/*'], 'model.use')
  equal(lease.budget, request.budget, 'cost.budget')
end

scenario :no_lease_is_no_lease do |world|
  job = world.open.submit('echo', 1)
  equal(job.handle.lease, nil, 'lease')
  equal(job.result, 1, 'result')
end

scenario :expiry_in_the_future_is_accepted do |world|
  session = world.open
  expiry = from_now(300)
  request = LeaseRequest.new(capabilities: ['audit'], expires_at: expiry)
  constraints = LeaseConstraints.new(expires_at: expiry, max_budget: nil)
  [{ lease_request: request }, { lease_constraints: constraints },
   { lease_request: request, lease_constraints: constraints }].each do |asked|
    job = session.submit('echo', 1, **asked)
    equal(Time.iso8601(job.handle.lease.expires_at), Time.iso8601(expiry), "expires_at for #{asked.keys}")
    equal(job.result, 1, 'result')
  end
end

scenario :expiry_in_the_past_is_refused do |world|
  session = world.open
  past = '2020-01-01T00:00:00Z'
  request = LeaseRequest.new(capabilities: ['audit'], expires_at: past)
  session.refused(Errors::InvalidRequest, 'echo', 1, lease_request: request)
  constraints = LeaseConstraints.new(expires_at: past, max_budget: nil)
  session.refused(Errors::InvalidRequest, 'echo', 1, lease_constraints: constraints)
  equal(session.run('echo', 'after'), 'after', 'echo after a refusal')
end

scenario :lease_that_expires_ends_the_job do |world|
  session = world.open
  asked = [{ lease_request: LeaseRequest.new(capabilities: ['audit'], expires_at: from_now(1)) },
           { lease_constraints: LeaseConstraints.new(expires_at: from_now(1), max_budget: nil) }]
  jobs = asked.map { |lease| session.submit('sleeper', { ms: 20_000 }, **lease) }
  jobs.each do |job|
    job.must_fail(Errors::LeaseExpired)
    equal(session.row(job.id).status, 'error', 'status in the listing')
  end
end
