import time
from shared.run import *
from tests.shared.store.stage import Stage, T0, T1
def test_a(stage: Stage):
    t=time.time()
    stage.past_history()
    print("history", time.time()-t); t=time.time()
    run, ch = stage.uploading([3]*10, Window(T0,T1))
    for c in ch: stage.upload(c, rejected=1)
    print(time.time()-t)
    print(stage.run(run)); assert stage.settle(run)
    print(stage.run(run), stage.standing())
def test_b(stage: Stage): pass
def test_c(stage: Stage):
    t=time.time()
    stage.write("TRUNCATE feeds, connections, data_models, markers CASCADE")
    print("truncate", time.time()-t)
