-- wrk's side of load.py: each request has four values of its own, the next tail, and the next key. Of several threads
-- each has a key of its own.
local function read(path)
  local file = assert(io.open(path, "rb"))
  local all = file:read("*a")
  file:close()
  return all
end

local threads = 0

function setup(thread)
  thread:set("number", threads)
  threads = threads + 1
end

local room, levels, tails, keys, headers, head, between, count = nil, {}, {}, {}, {}, nil, nil, 0

function init(args)
  room = args[1]
  head, between = read(room .. "/head"), read(room .. "/between")
  local joined, start = read(room .. "/tails"), 1
  for length in read(room .. "/sizes"):gmatch("%d+") do
    tails[#tails + 1] = joined:sub(start, start + length - 1)
    start = start + length
  end
  local all = read(room .. "/levels")
  local size = #all / 256
  for i = 0, 255 do levels[i] = all:sub(i * size + 1, (i + 1) * size) end
  for key in read(room .. "/keys"):gmatch("[^\n]+") do keys[#keys + 1] = "Bearer " .. key end
  for name, value in read(room .. "/headers"):gmatch("([^:\n]+): ([^\n]+)") do headers[name] = value end
  if args[2] == "each" then keys = { keys[number % #keys + 1] } end
  math.randomseed(os.time() + number)
  count = math.random(0, 2 ^ 31)
end

function request()
  count = count + 1
  local a, b, c, d = count % 256, math.floor(count / 256) % 256, math.floor(count / 65536) % 256,
    math.floor(count / 16777216) % 256
  if #keys > 0 then headers["Authorization"] = keys[count % #keys + 1] end
  local body = table.concat({ head, levels[a], between, levels[b], between, levels[c], between, levels[d],
    tails[count % #tails + 1] })
  return wrk.format("POST", nil, headers, body)
end

function done(summary, latency, requests)
  local e = summary.errors
  local failed = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('{"requests": %d, "failed": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f}\n',
    summary.requests - e.status, failed, summary.duration / 1e6, latency:percentile(50) / 1000,
    latency:percentile(99) / 1000))
end
