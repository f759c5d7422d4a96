-- RESERVE as it was before there were lanes: workers of then and of now share one account's state.
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function text(number) return string.format('%.0f', number) end
local life = 7200

local batches, rate, longest, held = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local burst, window, grain = tonumber(ARGV[5]), tonumber(ARGV[6]), 20000
local state = redis.call('HMGET', KEYS[1], 'next_at', 'paused_until', 'schedule', 'sent')
local paused_until = tonumber(state[2] or 0)
if held ~= '' and held == state[3] and paused_until <= now then
    return {1, 0, held}
end

local sent, counted = {}, 0
for at, count in string.gmatch(state[4] or '', '(%d+):(%d+)') do
    if at + window > now then
        sent[#sent + 1] = {tonumber(at), tonumber(count)}
        counted = counted + count
    end
end
local slot = math.max(tonumber(state[1] or 0), now - burst, paused_until)
local oldest = 1
while sent[oldest] and counted + batches > rate do
    slot = math.max(slot, sent[oldest][1] + window)
    counted = counted - sent[oldest][2]
    oldest = oldest + 1
end
local wait = math.max(0, slot - now)
if wait > longest then
    return {0, wait, ''}
end

local cost = math.ceil(batches * 1000000 / rate)
local at = now + wait + math.max(0, cost - 1000000)
local last = sent[#sent]
if last and math.floor(last[1] / grain) == math.floor(at / grain) then
    last[1], last[2] = at, last[2] + batches
else
    sent[#sent + 1] = {at, batches}
end
for index, entry in ipairs(sent) do
    sent[index] = text(entry[1]) .. ':' .. text(entry[2])
end
local schedule = state[3] or text(now)
redis.call('HSET', KEYS[1], 'next_at', text(slot + cost), 'schedule', schedule, 'sent', table.concat(sent, ' '))
redis.call('EXPIRE', KEYS[1], life + math.ceil(cost / 1000000))
return {1, wait, schedule}
