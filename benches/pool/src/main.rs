use std::time::Instant;
use tenure_pool::*;
struct Null;
impl Manager for Null {
    type Resource = u64;
    type Error = std::io::Error;
    async fn create(&self, c: CreateContext) -> Result<u64, Self::Error> { Ok(c.id) }
    async fn reset(&self, _: &mut u64, _: Context) -> Result<(), Self::Error> { Ok(()) }
    fn assess(&self, _: &mut u64, _: LeaseEnd<'_>) -> Next { Next::Keep }
}
struct Dp;
impl deadpool::managed::Manager for Dp {
    type Type = u64; type Error = ();
    async fn create(&self) -> Result<u64, ()> { Ok(1) }
    async fn recycle(&self, _: &mut u64, _: &deadpool::managed::Metrics) -> deadpool::managed::RecycleResult<()> { Ok(()) }
}
const N: u32 = 2_000_000;
fn main() {
    for workers in [0, 2] {
    let rt = if workers == 0 { tokio::runtime::Builder::new_current_thread().enable_all().build() } else { tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build() }.unwrap();
    println!("workers {workers}");
    rt.block_on(async { tokio::spawn(async {
        for always in [false, true] {
        let mut b = Pool::builder(Null).max_size(8);
        if always { b = b.check_after(std::time::Duration::ZERO); }
        let pool = b.build().unwrap();
        for _ in 0..3 {
            let t = Instant::now();
            for _ in 0..N { let mut l = pool.get().await.unwrap(); *l += 1; }
            println!("tenure always={always} {:.1}", t.elapsed().as_nanos() as f64 / N as f64);
        }
        let f = pool.get(); println!("size {}", std::mem::size_of_val(&f));
        }
        let pool = deadpool::managed::Pool::<Dp>::builder(Dp).max_size(8).build().unwrap();
        for _ in 0..2 {
            let t = Instant::now();
            for _ in 0..N { let mut l = pool.get().await.unwrap(); *l += 1; }
            println!("deadpool {:.1}", t.elapsed().as_nanos() as f64 / N as f64);
        }
        let s = tokio::sync::Semaphore::new(8); let m = std::sync::Mutex::new(vec![0u64;8]);
        for _ in 0..2 {
            let t = Instant::now();
            for _ in 0..N { let _p = s.acquire().await.unwrap(); let mut x = m.lock().unwrap().pop().unwrap(); x+=1; m.lock().unwrap().push(x); }
            println!("floor {:.1}", t.elapsed().as_nanos() as f64 / N as f64);
        }
        for _ in 0..2 {
            let t = Instant::now();
            for _ in 0..N { let mut x = m.lock().unwrap().pop().unwrap(); x+=1; m.lock().unwrap().push(x); }
            println!("mutexvec {:.1}", t.elapsed().as_nanos() as f64 / N as f64);
        }
        // contended
        for round in 0..2 {
        let pool = Pool::builder(Null).max_size(8).build().unwrap();
        let t = Instant::now();
        let hs: Vec<_> = (0..64).map(|_| { let pool = pool.clone(); tokio::spawn(async move { for _ in 0..10_000 { let mut l = pool.get().await.unwrap(); *l += 1; tokio::task::yield_now().await; } }) }).collect();
        for h in hs { h.await.unwrap(); }
        println!("tenure contended {:.0} kops {:?}", 640.0 / t.elapsed().as_secs_f64(), round);
        let pool = deadpool::managed::Pool::<Dp>::builder(Dp).max_size(8).build().unwrap();
        let t = Instant::now();
        let hs: Vec<_> = (0..64).map(|_| { let pool = pool.clone(); tokio::spawn(async move { for _ in 0..10_000 { let mut l = pool.get().await.unwrap(); *l += 1; tokio::task::yield_now().await; } }) }).collect();
        for h in hs { h.await.unwrap(); }
        println!("deadpool contended {:.0} kops", 640.0 / t.elapsed().as_secs_f64());
        }
    }).await.unwrap(); });
    }
}
