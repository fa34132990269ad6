-- Random paths from requests that are formatted once. Arguments: prefix, file of the ids, seed.
local requests, count = {}, 0

function init(args)
  math.randomseed(tonumber(args[3] or "1"))
  for id in io.lines(args[2]) do
    count = count + 1
    requests[count] = wrk.format("GET", args[1] .. id)
  end
end

function request()
  return requests[math.random(count)]
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"us":%d,"p50_us":%d,"p99_us":%d,"max_us":%d,"non_2xx":%d,"socket_errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99), latency.max,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
