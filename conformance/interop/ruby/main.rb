# frozen_string_literal: true

# Runs the Ruby SDK's client, unmodified, against the daemon that the environment names (see with_daemon.py), and
# reports what a user of it would notice. The last line is `N passed, N failed`.

require_relative 'harness'
require_relative 'jobs'
require_relative 'keys'
require_relative 'watch'
require_relative 'resume'
require_relative 'results'
require 'optparse'

SCENARIO_SEC = 30

# Runs one scenario and returns what was wrong, in words: with what it looked at, and with its frames.
def run(scenario, transport)
  world = World.new(transport)
  reasons = []
  Sync do |task|
    task.with_timeout(SCENARIO_SEC) { scenario.body.call(world) }
  rescue Failure => e
    reasons << e.message
  rescue Async::TimeoutError
    reasons << "did not end within #{SCENARIO_SEC} s"
  rescue StandardError => e
    reasons << "#{e.class}: #{e.message} (#{e.backtrace.first})"
  ensure
    world.close
  end
  reasons + world.complaints
end

options = { filter: '', transport: 'both' }
OptionParser.new do |parser|
  parser.on('--filter TEXT') { |text| options[:filter] = text }
  parser.on('--transport KIND', %w[ws stdio both]) { |kind| options[:transport] = kind }
end.parse!

passed = failed = 0
(options[:transport] == 'both' ? %w[ws stdio] : [options[:transport]]).each do |transport|
  SCENARIOS.each do |scenario|
    next unless scenario.transports.include?(transport) && scenario.name.include?(options[:filter])

    reasons = run(scenario, transport)
    if reasons.empty?
      passed += 1
      puts "ok   #{transport.ljust(5)}  #{scenario.name}"
    else
      failed += 1
      puts "FAIL #{transport.ljust(5)}  #{scenario.name}: #{reasons.first(3).join('; ')}"
    end
    $stdout.flush
  end
end
puts "#{passed} passed, #{failed} failed"
exit(failed.zero? ? 0 : 1)
