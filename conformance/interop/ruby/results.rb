# frozen_string_literal: true

CHUNK_BYTES = 512 * 1024
PATTERNS = { 'base64' => (0..250).to_a.pack('C*'), 'utf8' => [*'a'..'z'].join }.freeze

# The client's chunks are the contract's bytes, and its result says so.
def check_chunks(job, encoding, length)
  chunks = job.events.map(&:body)
  pattern = PATTERNS.fetch(encoding)
  received = chunks.map { |chunk| chunk.decoded.b }.join
  equal(received.bytesize, length, 'bytes received')
  check(received == (pattern.b * ((length / pattern.bytesize) + 1))[0, length], "the bytes differ from the contract's")
  result = job.outcome
  equal([result.final_status, result.chunked?, result.result_size], ['success', true, length], 'result')
  equal(result.result, nil, 'inline result beside the chunks')
  equal(chunks.map(&:result_id).uniq, [result.result_id], 'result_id')
  equal(chunks.map(&:chunk_seq), [*0...chunks.size], 'chunk_seq')
  equal(chunks.map(&:more), ([true] * (chunks.size - 1)) + [false], 'more')
end

scenario :chunked_result_base64_5_mb do |world|
  job = world.open.submit('chunker', { chunks: 10, chunk_bytes: CHUNK_BYTES })
  check_chunks(job, 'base64', 10 * CHUNK_BYTES)
end

scenario :chunked_result_utf8_5_mb do |world|
  job = world.open.submit('chunker', { chunks: 10, chunk_bytes: CHUNK_BYTES, encoding: 'utf8' })
  check_chunks(job, 'utf8', 10 * CHUNK_BYTES)
end

scenario :chunked_result_defaults do |world|
  check_chunks(world.open.submit('chunker'), 'base64', 192)
end

scenario :chunked_results_side_by_side do |world|
  session = world.open
  gather(3) do |i|
    size = 1000 * (i + 1)
    check_chunks(session.submit('chunker', { chunks: 20, chunk_bytes: size }), 'base64', 20 * size)
  end
end

scenario :chunked_result_of_a_finished_job, 'ws' do |world|
  job = world.open.submit('chunker', { chunks: 30, chunk_bytes: 700 })
  job.outcome
  check_chunks(world.open.watch(job.id), 'base64', 30 * 700)
end

scenario :chunked_result_over_a_broken_connection, 'ws' do |world|
  session = world.open
  job = session.submit('chunker', { chunks: 40, chunk_bytes: 64 * 1024 })
  kept = session.wire.wait('chunks', 3) { |f| f.type == 'job.event' }
  world.drop(session)
  # What else may have arrived is taken for lost, so that the break is in the middle.
  rest = Job.new(world.resume(session, last_seq: kept.last.event_seq), job.id)
  whole = rest.dup
  whole.define_singleton_method(:events) { kept.map { |f| Arcp::Job::Event.from_h(f.payload) } + rest.events }
  check_chunks(whole, 'base64', 40 * 64 * 1024)
end

scenario :inline_result_of_700_kb do |world|
  text = '0123456789abcdef' * (700_000 / 16)
  check(world.open.run('echo', { 'text' => text }) == { 'text' => text }, 'the result differs from the input')
end

scenario :many_inline_results_of_100_kb do |world|
  session = world.open
  gather(8) do |i|
    text = i.to_s * 100_000
    check(session.run('echo', text) == text, 'the result differs from the input')
  end
end
