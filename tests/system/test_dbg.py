import random, json, time, datetime
from shared.store.tables import chunks
from tests.system.people import *
def test_dbg(deployment):
    for seed in (13, 11, 9, 13, 11,9, 5,6)*3:
        people=People(deployment, f"dbg-{seed}-{time.time():.0f}")
        t=time.time()
        moment = random.Random(seed)
        run = begin(people, seed, rows=500)
        people.deployment.held_claim(run.id, chunks, moment, within_s=0.25)
        k=datetime.now(UTC)
        people.deployment.valkey.kill()
        people.deployment.valkey.start()
        u=datetime.now(UTC)
        assert_arrived_once(people, run.id, rows=500, before=run.before)
        print("=====", seed, time.time()-t, "kill", k.isoformat(), "up", u.isoformat())
        if time.time()-t>5:
            lines=[]
            for n, text in deployment.logs().items():
                for l in text.splitlines():
                    try: d=json.loads(l)
                    except ValueError: continue
                    ts=d.get("timestamp","")
                    if ts>=k.isoformat()[:19]:
                        e=d["event"][:150].replace("\n"," ")
                        if "upkeep" in e: continue
                        lines.append((ts, n, e, d.get("chunk_no",""), d.get("error","")[:100]))
            for l in sorted(lines): print(*l)
            for c in deployment.chunks(run.id): print({k:str(v) for k,v in c.items() if k in("no","attempts","deaths","resends","done_at","claimant")})
