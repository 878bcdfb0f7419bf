-- Sends whole requests that the benchmark wrote, one after another, and prints what came of them as one line of JSON.
--
-- The file has, for each request, its length in decimal digits, a newline, and its bytes.

local requests, position = {}, 0

function init(arguments)
   local file = assert(io.open(arguments[1], "rb"))
   for line in file:lines() do
      requests[#requests + 1] = file:read(tonumber(line))
   end
   file:close()
   position = tonumber(arguments[2])
end

function request()
   position = position % #requests + 1
   return requests[position]
end

function done(summary, latency, _)
   local errors = summary.errors
   io.write(string.format(
      'JSON {"seconds": %.6f, "answers": %d, "p50_ms": %.4f, "p99_ms": %.4f, "max_ms": %.4f, '
         .. '"refusals": %d, "broken": %d, "timeouts": %d}\n',
      summary.duration / 1e6, summary.requests, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
      latency.max / 1e3, errors.status, errors.connect + errors.read + errors.write, errors.timeout))
end
