"""How fast an account may go at the moment: what is learned from mParticle's answers, as Redis keeps and changes it.

Two things are learned, and both only ever slow the account down:

*The allowed rate* is the declared quota unless there is less. It falls by a tenth where a 429 says so, or where
mParticle counts far more of its limit as used than we do, which is where others spend the same quota or less of it
exists than was declared. It rises by itself: quickly to nearly all of the quota while answers say that there is room,
slowly beyond, so that a limit which was found is met again after minutes rather than seconds.

*The growth* is by how many batches one second may exceed the second before. It begins at a tenth of the quota and
doubles each time it was made use of without complaint; so an account without an acceleration limit soon has none here
either, and where there is one its first excess shows it. What is found holds for a day. To be told of the limit is to
hold: for as long as mParticle asks nobody speeds up, and only who is refused for the holding's own bodies is paused.

The fields of an account's hash beside those of ``worker.mparticle.schedule``::

    allowed     batches per second, where they are fewer than the quota
    allowed_at  when that was so
    eased_at    when it last fell: answers to what was sent before say nothing new
    growth      batches
    steep_at    when it was first made use of since it last changed
    limited_at  when an acceleration limit was last met
    held_until  nobody speeds up before

Some of them are read elsewhere, too, for metrics: ``shared/paces.py``.
"""

from typing import Final

PRELUDE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local second, day, life = 1000000, 86400000000, 90000
-- Shares of the quota: the growth of an account that is not known, and the least that is ever learned.
local first_growth, least_growth = 0.1, 0.04
-- Shares of the quota by which the allowed rate rises in a second: where an answer said that there is room, up to
-- nearly all of it; and otherwise, so that a limit is met again after minutes.
local quick_rise, nearly_all, slow_rise = 0.02, 0.95, 0.0005
-- Percent used from which it is crowded, if that is so much more than we sent: a body at the default quota is 10.
local crowded, of_others = 95, 15
local function text(number) return string.format('%.0f', number) end

local names = {
    'next_at', 'sent', 'paused_until', 'doublings', 'schedule', 'begun_at', 'line',
    'allowed', 'allowed_at', 'eased_at', 'growth', 'steep_at', 'limited_at', 'held_until',
}
local state, changes = {}, {}
for index, value in ipairs(redis.call('HMGET', KEYS[1], unpack(names))) do
    state[names[index]] = value or nil
end
local function get(name) return tonumber(state[name] or 0) end
local function set(name, value)
    state[name] = type(value) == 'number' and text(value) or value
    changes[name] = state[name]
end
local function save(lasts)
    local pairs_of = {}
    for name, value in pairs(changes) do
        pairs_of[#pairs_of + 1] = name
        pairs_of[#pairs_of + 1] = value
    end
    if #pairs_of > 0 then
        redis.call('HSET', KEYS[1], unpack(pairs_of))
        redis.call('EXPIRE', KEYS[1], math.max(lasts, redis.call('TTL', KEYS[1])))
    end
end

-- What counts against the quota, oldest first; two windows of it, for growth compares one with the one before.
local sent = {}
local function load_sent(window)
    for at, count in string.gmatch(state.sent or '', '(%d+):(%d+)') do
        if at + 2 * window > now then
            sent[#sent + 1] = {tonumber(at), tonumber(count)}
        end
    end
end
local function save_sent()
    local texts = {}
    for index, entry in ipairs(sent) do
        texts[index] = text(entry[1]) .. ':' .. text(entry[2])
    end
    set('sent', table.concat(texts, ' '))
end
local function sent_in(from, to)
    local count = 0
    for _, entry in ipairs(sent) do
        if entry[1] > from and entry[1] <= to then
            count = count + entry[2]
        end
    end
    return count
end

local function allowed_rate(quota)
    if not state.allowed then
        return quota
    end
    return math.min(quota, tonumber(state.allowed) + quota * slow_rise * (now - get('allowed_at')) / second)
end
local function allow(rate, quota)
    if rate < quota or state.allowed then
        set('allowed', string.format('%.3f', math.min(rate, quota)))
        set('allowed_at', now)
    end
end
local function ease(rate, quota, at_least, at, window, to)
    local going = math.max(sent_in(at - window, at), sent_in(at - 2 * window, at - window))
    -- Where Redis has forgotten what was sent, half of it is as good a guess as any.
    allow(math.max(1, at_least, to * math.min(rate, going > 0 and going or rate / 2)), quota)
    set('eased_at', now)
end
local function heed(rate, quota, used, batches, window)
    local going = math.max(sent_in(now - window, now), sent_in(now - 2 * window, now - window))
    if used < 0 or now - get('begun_at') < 2 * second then
        return
    end
    if used >= crowded and used > 100 * going / quota + of_others then
        if now - get('eased_at') > 2 * second then
            ease(rate, quota, batches, now, window, 0.95)
        end
    elseif rate < nearly_all * quota then
        -- As far as this answer says that there is room, in steps.
        local since = math.min(second, now - get('allowed_at')) / second
        local room = nearly_all * math.min(quota, 100 * going / math.max(1, used))
        allow(math.max(rate, math.min(room, tonumber(state.allowed) + quick_rise * quota * since)), quota)
    end
end

local function growth_of(quota)
    return math.min(quota, tonumber(state.growth or first_growth * quota))
end
local function trusted_growth(quota)
    local growth = growth_of(quota)
    local is_limited = state.limited_at and now - get('limited_at') < day
    if state.steep_at and state.steep_at ~= '0' and now - get('steep_at') > second and not is_limited then
        growth = math.min(quota, 2 * growth)
        set('growth', growth)
        set('steep_at', 0)
    end
    return growth
end
"""
"""What both scripts begin with: the account's state, and how what was learned applies now."""

# An answer to a body that was sent before the last trouble was heeded tells of the same trouble, not of worse.
REFUSED: Final = (
    PRELUDE
    + """
local asked, jitter = tonumber(ARGV[1]), tonumber(ARGV[2])
local first, last, forget, window = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5]), tonumber(ARGV[6])
local limit, ago, quota, batches = ARGV[7], tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local paused_until, sent_at = get('paused_until'), now - ago
local goes_on = false
load_sent(window)

-- Slots that are ahead were spread for another pace: whoever waits for one asks for another.
local function begin_anew()
    while sent[1] and sent[#sent][1] > now do
        table.remove(sent)
    end
    save_sent()
    set('schedule', now)
    set('next_at', math.min(now, get('next_at')))
end

if limit == 'acceleration' then
    goes_on = sent_at < get('limited_at') or sent_at >= get('held_until')
    if sent_at >= get('limited_at') then
        local rise = sent_in(sent_at - second, sent_at) - sent_in(sent_at - 2 * second, sent_at - second)
        local growth = growth_of(quota)
        -- A rise that came from bodies which arrived unevenly says little: it is believed by parts.
        local least = now - get('limited_at') < day and 0.75 or 0.5
        set('growth', math.max(1, least_growth * quota, least * growth, 0.8 * math.min(growth, rise - batches)))
        begin_anew()
        set('steep_at', 0)
        set('limited_at', now)
        set('held_until', now + math.max(asked, second))
    end
elseif limit ~= '' and sent_at >= get('eased_at') then
    ease(allowed_rate(quota), quota, batches, sent_at, window, 0.9)
end

-- What was refused does not count.
for index = #sent, 1, -1 do
    if sent[index][1] <= sent_at + 20000 and batches > 0 then
        sent[index][2] = math.max(0, sent[index][2] - batches)
        save_sent()
        break
    end
end

if not goes_on then
    if asked < 0 and paused_until <= now then
        local doublings = 0
        if state.doublings and now - paused_until < forget then
            doublings = math.min(get('doublings') + 1, 30)
        end
        asked = math.floor(math.min(first * 2 ^ doublings, last) * jitter)
        set('doublings', doublings)
    end
    if now + asked > paused_until then
        paused_until = now + asked
        set('paused_until', paused_until)
        begin_anew()
    end
end
save(life)
return math.max(0, paused_until - now)
"""
)
