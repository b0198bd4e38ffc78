-- Replays requests from a file: a line each, "METHOD<tab>path<tab>signature<tab>body". Prints one
-- JSON line of results. Each request is sent once; if the file runs out it starts over and says so.
-- The third argument is the number of requests after which it stops; 0 means no limit.
local requests, at, limit = {}, 0, 0
rounds = 0 -- global: `done` reads it from the thread
local counters = {}

function setup(thread)
  counters[#counters + 1] = thread
end

function init(args)
  limit = tonumber(args[3])
  for line in io.lines(args[1]) do
    local method, path, signature, body = line:match("^([^\t]*)\t([^\t]*)\t([^\t]*)\t(.*)$")
    local headers = { ["Authorization"] = args[2] }
    if body ~= "" then
      headers = { ["Content-Type"] = "application/json", ["User-Agent"] = "facebookexternalua",
                  ["X-Hub-Signature-256"] = signature }
    end
    requests[#requests + 1] = wrk.format(method, path, headers, body ~= "" and body or nil)
  end
end

function request()
  at = at + 1
  if at > #requests then
    at = 1
    rounds = rounds + 1
  end
  limit = limit - 1
  if limit == 0 then wrk.thread:stop() end
  return requests[at]
end

function done(summary, latency)
  local errors = summary.errors
  local starts = 0
  for _, thread in ipairs(counters) do starts = starts + (thread:get("rounds") or 0) end
  io.write(string.format(
    '{"requests": %d, "seconds": %.6f, "bad": %d, "broken": %d, "p50_ms": %.3f, "p99_ms": %.3f, "rounds": %d}\n',
    summary.requests, summary.duration / 1e6, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout,
    latency:percentile(50) / 1e3, latency:percentile(99) / 1e3, starts))
end
