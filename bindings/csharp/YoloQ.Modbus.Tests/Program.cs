// SPDX-License-Identifier: Apache-2.0
using System;
using System.Collections.Generic;
using System.Globalization;
using System.Linq;
using System.Net;
using System.Threading;

namespace YoloQ.Modbus.Tests
{
    /// <summary>What pytest drives: one mode per part, commands on standard input, answers on standard output.</summary>
    internal static class Program
    {
        private static int Main(string[] arguments)
        {
            CultureInfo.DefaultThreadCurrentCulture = CultureInfo.InvariantCulture;
            Thread.CurrentThread.CurrentCulture = CultureInfo.InvariantCulture;
            switch (arguments[0])
            {
                case "map": return PrintMap();
                case "words": return PrintWords();
                case "handshake": return HandshakeScript.Run(new Settings(arguments));
                case "server": return RunServer(new Settings(arguments));
                case "client": return ClientConsole.Run(new Settings(arguments));
                case "link": return LinkConsole.Run(new Settings(arguments));
                default: return 2;
            }
        }

        /// <summary>One line, whole, at once: several threads speak.</summary>
        internal static void Say(string line)
        {
            lock (typeof(Program))
            {
                Console.Out.WriteLine(line);
                Console.Out.Flush();
            }
        }

        private static int PrintMap()
        {
            foreach (MapField field in ResultMap.Fields)
            {
                Say(string.Join("|", field.Name, field.Address, field.Type, field.Count, field.Unit));
            }
            Say("status:" + string.Join(",", ResultMap.StatusBits));
            Say("control:" + string.Join(",", ResultMap.ControlBits));
            Say("numbers:" + string.Join(",", ResultMap.Version, ResultMap.Size, ResultMap.MaxClasses, ResultMap.ControlCount));
            return 0;
        }

        /// <summary>Lines "order float": both registers, and the value read back.</summary>
        private static int PrintWords()
        {
            string line;
            while ((line = Console.In.ReadLine()) != null)
            {
                string[] parts = line.Split(' ');
                var order = (WordOrder)Enum.Parse(typeof(WordOrder), parts[0]);
                var words = new ushort[2];
                Words.PutFloat(words, 0, float.Parse(parts[1], CultureInfo.InvariantCulture), order);
                bool same = Words.GetFloat(words, 0, order) == float.Parse(parts[1], CultureInfo.InvariantCulture);
                Say(words[0].ToString("x4") + " " + words[1].ToString("x4") + " " + same);
            }
            return 0;
        }

        /// <summary>A bare server on 200 registers, 100 to 149 writable, coils on 100 and 101, discrete inputs on 0.</summary>
        private static int RunServer(Settings settings)
        {
            var bank = new RegisterBank(200, 100, 50, new[] { 100, 101, 0 }, new[] { 0 });
            for (int i = 0; i < 100; i++)
            {
                bank[i] = (ushort)(1000 + i);
            }
            bank.Written += (sender, e) =>
            {
                if (bank[149] == 0xDEAD)
                {
                    bank[149] = 0;
                    throw new InvalidOperationException("a handler that fails");
                }
            };
            using (var server = new ModbusServer(new IPEndPoint(IPAddress.Loopback, settings.Int("port", 0)), bank))
            {
                server.Unit = (byte)settings.Int("unit", 0);
                server.MaxConnections = settings.Int("max", 16);
                server.IdleTimeout = TimeSpan.FromMilliseconds(settings.Int("idle", 60000));
                try
                {
                    server.Start();
                }
                catch (ModbusException error)
                {
                    Say("failed " + error.GetType().Name + " " + error.Message);
                    return 0;
                }
                Say("listening " + server.EndPoint.Port);
                string line;
                while ((line = Console.In.ReadLine()) != null && line != "quit")
                {
                    Say(ServerCommand(server, bank, line));
                }
            }
            Say("stopped");
            return 0;
        }

        private static string ServerCommand(ModbusServer server, RegisterBank bank, string line)
        {
            switch (line)
            {
                case "connections": return server.ConnectionCount.ToString();
                case "requests": return server.RequestCount.ToString();
                case "memory": return GC.GetTotalMemory(true).ToString();
                case "stop":
                    server.Stop();
                    return "stopped";
                case "start":
                    server.Start();
                    return "listening " + server.EndPoint.Port;
                case "written": return string.Join(",", bank.Read(100, 50).Select(word => word.ToString()));
                default: return "what?";
            }
        }
    }

    /// <summary>Arguments key=value.</summary>
    internal sealed class Settings
    {
        private readonly Dictionary<string, string> values = new Dictionary<string, string>();

        internal Settings(IEnumerable<string> words)
        {
            foreach (string word in words.Where(word => word.Contains("=")))
            {
                values[word.Substring(0, word.IndexOf('='))] = word.Substring(word.IndexOf('=') + 1);
            }
        }

        internal string Text(string name, string fallback)
        {
            string value;
            return values.TryGetValue(name, out value) ? value : fallback;
        }

        internal int Int(string name, int fallback)
        {
            return int.Parse(Text(name, fallback.ToString()), CultureInfo.InvariantCulture);
        }

        /// <summary>A result from trigger=, ok=, error=, sequence=, counts=1,2, best=class,score,x,y,w,h,angle.</summary>
        internal InspectionResult Result()
        {
            var result = new InspectionResult
            {
                Sequence = long.Parse(Text("sequence", "0"), CultureInfo.InvariantCulture),
                Trigger = Int("trigger", 0),
                Ok = Int("ok", 0) != 0,
                Error = Int("error", 0)
            };
            if (Text("counts", "") != "")
            {
                result.CountsPerClass = Text("counts", "").Split(',').Select(int.Parse).ToArray();
            }
            if (Text("best", "") != "")
            {
                float[] best = Text("best", "").Split(',').Select(v => float.Parse(v, CultureInfo.InvariantCulture)).ToArray();
                result.Best = new BestDetection
                {
                    ClassId = (int)best[0], Score = best[1], X = best[2], Y = best[3], Width = best[4], Height = best[5],
                    AngleDegrees = best[6]
                };
            }
            if (Text("latency", "") != "")
            {
                result.LatencyMilliseconds = double.Parse(Text("latency", ""), CultureInfo.InvariantCulture);
            }
            if (Text("state", "") != "")
            {
                result.State = (LinkState)Int("state", 0);
            }
            return result;
        }
    }
}
