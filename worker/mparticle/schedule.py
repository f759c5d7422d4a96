"""One account's schedule and pause, as Redis keeps and changes them: a hash and two scripts.

Live bodies reserve slots ahead. Backfill bodies never do: they stand in a line beside the schedule, and the first of it
takes the next slot once that is due and live has not taken it. Places in the line are measured in the time that those
ahead will take, so a place tells when to ask again, and the whole line moves back when a live body reserves a slot.

The fields of the hash::

    next_at       when the next slot is due if slots are spread evenly
    sent          what counts against the quota: pairs ``time:batches``, oldest first, slots ahead included
    paused_until  no slot lies before this
    doublings     how often the pause was doubled, since the last trouble was over
    schedule      a name that a schedule begun anew does not share
    head, tail    where backfill's line begins and ends, in microseconds of quota that it got since the schedule began

Every time is in whole microseconds of Redis' clock. They need 51 of the 53 bits that Lua's numbers have, and ``%.0f``
because ``tostring()`` keeps 14 digits only. A hash lives for two hours after its last change, and longer where a slot
takes longer; ``worker.mparticle.governor`` sets no pause beyond one hour.
"""

from typing import Final

_NOW: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local function text(number) return string.format('%.0f', number) end
local life = 7200
"""

# Batches due in the same 20 ms count as due with the last of them, which bounds how much is kept.
RESERVE: Final = (
    _NOW
    + """
local batches, rate, longest, held = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local burst, window, lane, grain = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7], 20000
local state = redis.call('HMGET', KEYS[1], 'next_at', 'paused_until', 'schedule', 'sent', 'head', 'tail')
local paused_until, schedule = tonumber(state[2] or 0), state[3] or text(now)
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
local slot = math.max(tonumber(state[1] or 0), paused_until)
local oldest = 1
while sent[oldest] and counted + batches > rate do
    slot = math.max(slot, sent[oldest][1] + window)
    counted = counted - sent[oldest][2]
    oldest = oldest + 1
end
-- What was due and nobody took moves the line on as well: whoever left it is waited for once.
local tail = tonumber(state[6] or 0)
local head = math.min(tail, tonumber(state[5] or 0) + math.max(0, now - burst - slot))
slot = math.max(slot, now - burst)
local wait = math.max(0, slot - now)

if lane == 'backfill' then
    local length = math.ceil(batches * window / rate)
    local place = tonumber(string.match(held, '^' .. schedule .. ':(%d+)$')) or tail
    wait = math.max(0, slot + math.max(0, place - head) - now)
    if wait > longest then
        if place <= head and place < tail then
            redis.call('HSET', KEYS[1], 'head', text(math.min(tail, place + length)))
        end
        return {0, wait, ''}
    end
    tail = math.max(tail, place + length)
    if wait > 0 then
        redis.call('HSET', KEYS[1], 'schedule', schedule, 'tail', text(tail))
        redis.call('EXPIRE', KEYS[1], math.max(life, redis.call('TTL', KEYS[1])))
        return {1, wait, schedule .. ':' .. text(place)}
    end
    head = math.max(head, place + length)
elseif wait > longest then
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
redis.call(
    'HSET', KEYS[1], 'next_at', text(slot + cost), 'schedule', schedule, 'sent', table.concat(sent, ' '),
    'head', text(head), 'tail', text(tail)
)
redis.call('EXPIRE', KEYS[1], life + math.ceil(cost / 1000000))
return {1, wait, schedule}
"""
)

# A refusal that arrives during a pause answers a body sent before it: the same trouble, not worse trouble.
PAUSE: Final = (
    _NOW
    + """
local asked, jitter = tonumber(ARGV[1]), tonumber(ARGV[2])
local first, last, forget = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local state = redis.call('HMGET', KEYS[1], 'paused_until', 'doublings')
local paused_until = tonumber(state[1] or 0)
if asked < 0 then
    if paused_until > now then
        return paused_until - now
    end
    local doublings = 0
    if state[2] and now - paused_until < forget then
        doublings = math.min(tonumber(state[2]) + 1, 30)
    end
    asked = math.floor(math.min(first * 2 ^ doublings, last) * jitter)
    redis.call('HSET', KEYS[1], 'doublings', doublings)
end
paused_until = math.max(paused_until, now + asked)
redis.call('HSET', KEYS[1], 'paused_until', text(paused_until))
redis.call('EXPIRE', KEYS[1], math.max(life, redis.call('TTL', KEYS[1])))
return paused_until - now
"""
)
