-- Counts what the answers are, and prints the sums as JSON.
local threads = {}

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  right, wrong = 0, 0
end

function response(status, headers, body)
  if status == 200 and body == "Hello, world!" then right = right + 1 else wrong = wrong + 1 end
end

function done(summary, latency, requests)
  local all_right, all_wrong = 0, 0
  for _, thread in ipairs(threads) do
    all_right, all_wrong = all_right + thread:get("right"), all_wrong + thread:get("wrong")
  end
  local errors = summary.errors
  io.write(string.format(
    '{"requests": %d, "right": %d, "wrong": %d, "connect": %d, "read": %d, "write": %d, "status": %d, "timeout": %d}\n',
    summary.requests, all_right, all_wrong,
    errors.connect, errors.read, errors.write, errors.status, errors.timeout))
end
