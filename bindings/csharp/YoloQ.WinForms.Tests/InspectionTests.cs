// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Drawing;
using System.IO;
using System.Linq;
using System.Runtime.InteropServices;
using System.Threading;
using YoloQ.WinForms.Inspection;
using YoloQ.WinForms.Model;

namespace YoloQ.WinForms.Tests
{
    public static class PixelTests
    {
        private static uint At(PixelBuffer buffer, int x, int y)
        {
            return unchecked((uint)Marshal.ReadInt32(buffer.Data, y * buffer.Stride + x * 4));
        }

        public static void EveryCameraFormatBecomesTheSame()
        {
            var formats = new[] { PixelFormat.Gray8, PixelFormat.Bgr24, PixelFormat.Rgb24, PixelFormat.Bgra32, PixelFormat.Rgba32 };
            byte[][] pixels = { new byte[] { 7 }, new byte[] { 1, 2, 3 }, new byte[] { 3, 2, 1 }, new byte[] { 1, 2, 3, 0 }, new byte[] { 3, 2, 1, 9 } };
            for (int i = 0; i < formats.Length; i++)
            {
                int stride = pixels[i].Length * 2 + 5; // two pixels and padding
                var memory = new byte[stride * 2];
                for (int at = 0; at < 4; at++)
                {
                    pixels[i].CopyTo(memory, at / 2 * stride + at % 2 * pixels[i].Length);
                }
                GCHandle handle = GCHandle.Alloc(memory, GCHandleType.Pinned);
                using (var buffer = new PixelBuffer())
                {
                    buffer.CopyFrom(handle.AddrOfPinnedObject(), stride, 2, 2, formats[i]);
                    uint expected = i == 0 ? 0xFF070707u : 0xFF030201u;
                    Check.True(Enumerable.Range(0, 4).All(at => At(buffer, at % 2, at / 2) == expected), formats[i].ToString());
                }
                handle.Free();
            }
        }

        public static void ABitmapKeepsItsColours()
        {
            using (var bitmap = new Bitmap(3, 2))
            using (var buffer = new PixelBuffer())
            {
                bitmap.SetPixel(2, 1, Color.FromArgb(10, 20, 30));
                buffer.CopyFrom(bitmap);
                Check.Equal(0xFF0A141Eu, At(buffer, 2, 1));
                Check.Equal(Color.FromArgb(10, 20, 30).ToArgb(), buffer.View.GetPixel(2, 1).ToArgb());
            }
        }

        public static void ReducingTakesTheMean()
        {
            using (var large = new PixelBuffer())
            using (var small = new PixelBuffer())
            {
                large.Resize(5, 4);
                for (int i = 0; i < 20; i++)
                {
                    Marshal.WriteInt32(large.Data, i * 4, unchecked((int)0xFF000000) | (i % 5 % 2 == 0 ? 10 : 20));
                }
                small.Reduce(large, 2);
                Check.Equal("2x2", small.Width + "x" + small.Height);
                Check.Equal(0xFF00000Fu, At(small, 1, 1));
            }
        }

        public static void MemoryOnlyGrows()
        {
            using (var buffer = new PixelBuffer())
            {
                buffer.Resize(100, 100);
                IntPtr first = buffer.Data;
                buffer.Resize(10, 20);
                buffer.Resize(100, 100);
                Check.Equal(first, buffer.Data);
                Check.Throws<ArgumentOutOfRangeException>(() => buffer.Resize(0, 5));
            }
        }

        public static void TheNewestFrameWins()
        {
            using (var frames = new FrameExchange())
            {
                Check.True(!frames.Take(), "nothing is there yet");
                for (int i = 1; i <= 5; i++)
                {
                    frames.Back.Sequence = i;
                    frames.Publish();
                }
                Check.True(frames.Take(), "there is a frame");
                Check.Equal(5L, frames.Front.Sequence);
                Check.True(!frames.Take() && frames.Front.Sequence == 5, "and none newer");
                frames.Back.Sequence = 6;
                Check.Equal(5L, frames.Front.Sequence);
            }
        }
    }

    public static class SourceTests
    {
        public static void FilesFollowLikePeopleCount()
        {
            string[] names = { "f10.png", "F2.png", "f1.png", "f02.png", "g.png", "f1a.png" };
            Array.Sort(names, new NaturalOrder());
            Check.Equal("f1.png f1a.png F2.png f02.png f10.png g.png", string.Join(" ", names));
        }

        private static string Folder(params string[] names)
        {
            string folder = Path.Combine(Path.GetTempPath(), "yoloq-source-" + Guid.NewGuid().ToString("N"));
            Directory.CreateDirectory(folder);
            foreach (string name in names)
            {
                using (var bitmap = new Bitmap(4, 3))
                {
                    bitmap.Save(Path.Combine(folder, name), System.Drawing.Imaging.ImageFormat.Png);
                }
            }
            return folder;
        }

        public static void AFolderEndsOrBeginsAgain()
        {
            string folder = Folder("b.png", "a.png");
            File.WriteAllText(Path.Combine(folder, "notes.txt"), "no picture");
            bool loop = false;
            using (var source = new FileSource(folder, () => loop))
            using (var buffer = new PixelBuffer())
            {
                string name;
                Check.Equal(ReadResult.Picture, source.Read(buffer, 0, out name));
                Check.Equal("a.png", name);
                Check.Equal(ReadResult.Picture, source.Read(buffer, 0, out name));
                Check.Equal(ReadResult.End, source.Read(buffer, 0, out name));
                Check.Equal(ReadResult.Picture, source.Read(buffer, 0, out name)); // started once more
                Check.Equal(ReadResult.Picture, source.Read(buffer, 0, out name));
                loop = true;
                Check.Equal(ReadResult.Picture, source.Read(buffer, 0, out name));
                Check.Equal("a.png", name);
            }
            Directory.Delete(folder, true);
        }

        public static void ADamagedPictureIsSkipped()
        {
            string folder = Folder("b.png");
            File.WriteAllText(Path.Combine(folder, "a.png"), "not a picture");
            using (var source = new FileSource(folder, () => true))
            using (var buffer = new PixelBuffer())
            {
                string name;
                Check.Throws<FrameSourceException>(() => source.Read(buffer, 0, out name));
                Check.Equal(ReadResult.Picture, source.Read(buffer, 0, out name));
                Check.Equal("b.png 4x3", name + " " + buffer.Width + "x" + buffer.Height);
            }
            Directory.Delete(folder, true);
        }

        public static void NoPicturesIsSaidAtOnce()
        {
            string folder = Folder();
            Check.Throws<FrameSourceException>(() => new FileSource(folder, () => true));
            Directory.Delete(folder);
            Check.Throws<FrameSourceException>(() => new FileSource(folder, () => true));
        }
    }

    public static class LoopTests
    {
        public static void ItKeepsPaceAndObeys()
        {
            int pictures = 0, errors = 0;
            var posted = new ManualResetEvent(false);
            var loop = new InspectionLoop(() => { if (Interlocked.Increment(ref pictures) == 3) { throw new InvalidOperationException(); } },
                () => { }, error => Interlocked.Increment(ref errors));
            loop.SetPace(200, false);
            loop.Begin();
            loop.Post(() => posted.Set());
            Check.True(posted.WaitOne(5000) && pictures == 0, "it obeys, and takes no picture unasked");
            loop.SetRunning(true);
            Check.True(SpinWait.SpinUntil(() => Volatile.Read(ref pictures) > 10, 10000), "it runs on after an error");
            Check.Equal(1, errors);
            loop.SetRunning(false);
            loop.End();
        }

        public static void ATriggerIsOnePicture()
        {
            int pictures = 0;
            var taken = new AutoResetEvent(false);
            var loop = new InspectionLoop(() => { pictures++; taken.Set(); }, () => { }, error => { });
            loop.SetPace(500, true);
            loop.Begin();
            Check.True(!loop.Trigger(), "it does not run yet");
            loop.SetRunning(true);
            for (int i = 1; i <= 3; i++)
            {
                Check.True(loop.Trigger() && taken.WaitOne(5000), "a picture for each trigger");
                Check.Equal(i, pictures);
            }
            Check.True(!taken.WaitOne(50), "and none without");
            loop.End();
        }

        public static void ATriggerAtARateIsAPictureAtOnce()
        {
            var taken = new AutoResetEvent(false);
            var loop = new InspectionLoop(() => taken.Set(), () => { }, error => { });
            loop.SetPace(0.001, false);
            loop.Begin();
            loop.SetRunning(true);
            Check.True(taken.WaitOne(5000), "the first of the clock");
            Check.True(!taken.WaitOne(50), "the next comes much later");
            Check.True(loop.Trigger() && taken.WaitOne(5000), "but the PLC's at once");
            loop.End();
        }
    }

    public static class StationTests
    {
        /// <summary>As a camera, which two cannot have at once.</summary>
        private sealed class Camera : IFrameSource
        {
            private readonly Action _closed;

            public Camera(Action closed)
            {
                _closed = closed;
            }

            public string Name
            {
                get { return "camera"; }
            }

            public bool IsStill
            {
                get { return false; }
            }

            public ReadResult Read(PixelBuffer into, int timeoutMs, out string name)
            {
                name = "";
                return ReadResult.Nothing;
            }

            public void Dispose()
            {
                _closed();
            }
        }

        public static void ASourceIsClosedBeforeTheNextIsOpened()
        {
            int open = 0, most = 0;
            Func<IFrameSource> camera = () =>
            {
                most = Math.Max(most, ++open);
                return new Camera(() => open--);
            };
            using (var station = new Station(new AppSettings()))
            {
                station.OpenSource(camera);
                station.OpenSource(camera);
                Check.True(SpinWait.SpinUntil(() => Logged(station, "log.source") == 1 && station.Status.SourceName == "camera", 10000), "the same in a row is one entry");
                station.OpenSource(() => { throw new FrameSourceException("unplugged"); });
                Check.True(SpinWait.SpinUntil(() => Logged(station, "log.source_failed") == 1, 10000), "it is said");
                Check.Equal("", station.Status.SourceName);
                Check.Equal(0, open);
            }
            Check.Equal(1, most);
        }

        private static int Logged(Station station, string key)
        {
            var entries = new List<JournalEntry>();
            station.Log.CopyTo(entries);
            return entries.Count(entry => entry.Key == key);
        }
    }

    public static class NgTests
    {
        private static InspectedFrame Frame(long sequence)
        {
            var frame = new InspectedFrame
            {
                Sequence = sequence,
                Name = "零件.png",
                Time = new DateTime(2026, 1, 2, 3, 4, 5).AddSeconds(sequence),
                Found = new[] { new Detection { X1 = 1, Y1 = 2, X2 = 3, Y2 = 4, Score = 0.5f, ClassId = 1, Angle = 0.25f } },
                Count = 1,
                Inspected = true
            };
            frame.Pixels.Resize(64, 64);
            var noise = new Random((int)sequence); // so that PNG cannot make it smaller
            for (int i = 0; i < 64 * 64; i++)
            {
                Marshal.WriteInt32(frame.Pixels.Data, i * 4, unchecked((int)0xFF000000) | noise.Next(0x1000000));
            }
            return frame;
        }

        public static void TheOldestGoWhenTheLimitIsReached()
        {
            string folder = Path.Combine(Path.GetTempPath(), "yoloq-ng-" + Guid.NewGuid().ToString("N"));
            Directory.CreateDirectory(folder);
            File.WriteAllText(Path.Combine(folder, "ng_20250101_000000_000_000001.png.part"), "cut off");
            File.WriteAllText(Path.Combine(folder, "ng_keep.txt"), "somebody else's");
            var names = new[] { "bolt", "划痕" };
            var context = new InspectionContext("m", names, new RuleBook(new Rule[0], names), 0.25f, 0.7f);
            var journal = new Journal();
            const long Limit = 60000;
            using (var store = new NgStore(journal))
            {
                store.Configure(true, folder, "png", Limit);
                for (int i = 1; i <= 12; i++)
                {
                    using (InspectedFrame frame = Frame(i))
                    {
                        Check.True(SpinWait.SpinUntil(() => store.Offer(frame, context), 10000), "the store takes it");
                    }
                }
            }
            string[] files = Directory.GetFiles(folder).Select(Path.GetFileName).OrderBy(name => name, StringComparer.Ordinal).ToArray();
            long bytes = files.Sum(name => new FileInfo(Path.Combine(folder, name)).Length);
            Check.True(bytes <= Limit && bytes > Limit / 2, "within the limit, and using it: " + bytes);
            string[] stems = files.Where(name => name != "ng_keep.txt").Select(Path.GetFileNameWithoutExtension).ToArray();
            Check.Equal("ng_20260102_030417_000_000012", stems.Last());
            Check.True(stems.GroupBy(stem => stem).All(group => group.Count() == 2), "picture and JSON of each");
            Check.True(files.Contains("ng_keep.txt") && !files.Any(name => name.EndsWith(".part", StringComparison.Ordinal)), "only ours go");
            NgRecord record = JsonFile.Read<NgRecord>(Path.Combine(folder, stems.Last() + ".json"));
            Check.Equal("零件.png|划痕|0.5|1,2,3,4", string.Join("|", record.Source, record.Detections[0].ClassName, record.Detections[0].Score,
                string.Join(",", record.Detections[0].Box)));
            Directory.Delete(folder, true);
        }

        public static void AFolderThatCannotBeIsLoggedNotThrown()
        {
            string file = Path.GetTempFileName();
            var journal = new Journal();
            using (var store = new NgStore(journal))
            {
                store.Configure(true, Path.Combine(file, "below a file"), "png", 1000000);
                using (InspectedFrame frame = Frame(1))
                {
                    store.Offer(frame, new InspectionContext("m", new string[0], new RuleBook(new Rule[0], new string[0]), 0.25f, 0.7f));
                }
                Check.True(SpinWait.SpinUntil(() => store.Dropped == 1, 10000), "it is counted");
            }
            Check.Equal(1, journal.Count);
            File.Delete(file);
        }
    }
}
